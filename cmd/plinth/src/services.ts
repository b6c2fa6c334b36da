import { AppError, didYouMean } from "@plinth/kernel";
import { type ConsulClient, type ConsulHealthEntry, createConsulClient, plinthOptionsFrom } from "@plinth/registry";
import type { ServicesQuestion } from "./services-arguments.ts";
import { safe, toTable } from "./table.ts";

/** One instance, as it is printed. */
interface ShownInstance {
  readonly service: string;
  readonly id: string;
  readonly state: string;
  readonly version: string | undefined;
  readonly zone: string | undefined;
  readonly host: string;
  readonly ports: Readonly<Record<string, number>>;
  readonly weight: number;
  readonly tags: readonly string[];
  readonly node: string;
  /** Checks that do not pass. */
  readonly failing: readonly { readonly name: string; readonly status: string; readonly output: string }[];
}

interface Shown {
  /** How long ago the server that answered had heard from the leader, in milliseconds, at worst; undefined when none said. */
  readonly ageMs: number | undefined;
  /** There is no leader, or it has not been heard of for long: this may be out of date. */
  readonly stale: boolean;
  readonly instances: readonly ShownInstance[];
  readonly skipped: readonly { readonly id: string; readonly problem: string }[];
}

/** Beyond, an answer may be out of date, in milliseconds: as the discovery of services has it. */
const freshMs = 10_000;
/** Services asked for at once. */
const width = 8;

/**
 * Prints what is registered in Consul.
 * @returns The exit code: 0, or 1 where Consul cannot be asked, or knows no such service.
 */
export async function printServices(question: ServicesQuestion): Promise<number> {
  const { consul: address } = question;
  try {
    const client = createConsulClient({
      ...plinthOptionsFrom(process.env),
      ...(address === undefined ? {} : { address }),
    });
    try {
      return await show(client, question);
    } finally {
      await client.close();
    }
  } catch (error) {
    const { message, cause } = AppError.from(error);
    const why = cause instanceof Error && !message.includes(cause.message) ? `: ${cause.message}` : "";
    return tell(`${message}${why}; --consul names another agent`);
  }
}

async function show(client: ConsulClient, { service, isJson, limitMs }: ServicesQuestion): Promise<number> {
  const signal = AbortSignal.timeout(limitMs);
  const catalogue = await client.catalogServices({ signal });
  const names = catalogue.items.map(({ name }) => name).toSorted();
  if (service !== undefined && !names.includes(service))
    return tell(`no service "${service}" is registered${didYouMean(service, names)}`);
  // Consul itself is in there; who wants to see it names it
  const asked = service === undefined ? names.filter((name) => name !== "consul") : [service];
  const instances: ShownInstance[] = [];
  const skipped = [...catalogue.skipped];
  const answers = [catalogue];
  for (let at = 0; at < asked.length; at += width) {
    const read = asked.slice(at, at + width).map((name) => client.health(name, { signal }));
    for (const answer of await Promise.all(read)) {
      instances.push(...answer.items.map(toShown));
      skipped.push(...answer.skipped);
      answers.push({ ...catalogue, ...answer, items: [] });
    }
  }
  const ages = answers.flatMap(({ lastContactMs }) => lastContactMs ?? []);
  const ageMs = ages.length > 0 ? Math.max(...ages) : undefined;
  const stale = answers.some(({ knownLeader }) => knownLeader === false) || (ageMs ?? 0) > freshMs;
  const shown: Shown = { ageMs, stale, instances: instances.toSorted(byServiceAndId), skipped };
  process.stdout.write(isJson ? `${JSON.stringify(shown, undefined, 2)}\n` : toText(shown));
  return 0;
}

function toShown({ service, node, checks, status }: ConsulHealthEntry): ShownInstance {
  const { id, name, address, port, tags, meta, weights } = service;
  const [http, grpc] = ["http", "grpc"].map((protocol) => Number(meta[`plinth-${protocol}-port`] ?? 0));
  const own = { ...(http ? { http } : {}), ...(grpc ? { grpc } : {}) };
  return {
    service: name,
    id,
    state: status,
    version: meta["plinth-version"],
    zone: meta["plinth-zone"],
    host: address === "" ? node.address : address,
    ports: Object.keys(own).length > 0 ? own : { port },
    weight: weights.passing,
    tags,
    node: node.name,
    failing: checks
      .filter((check) => check.status !== "passing")
      .map((check) => ({ name: check.name, status: check.status, output: check.output })),
  };
}

function byServiceAndId(a: ShownInstance, b: ShownInstance): number {
  return a.service < b.service ? -1 : a.service > b.service ? 1 : a.id < b.id ? -1 : 1;
}

function toText({ ageMs, stale, instances, skipped }: Shown): string {
  const rows = instances.map(({ service, id, state, version = "-", zone = "-", host, ports, failing }) => [
    service,
    state,
    version,
    zone,
    [host, ...Object.entries(ports).map(([protocol, port]) => `${protocol}:${port}`)].join(" "),
    id,
    failing.map(({ name, output }) => (output === "" ? name : `${name}: ${output}`).slice(0, 120)).join("; "),
  ]);
  const head = ["SERVICE", "STATE", "VERSION", "ZONE", "ADDRESS", "ID", "NOT PASSING"];
  const lines = rows.length > 0 ? toTable([head, ...rows]) : ["no service is registered"];
  const bad = skipped.map(({ id, problem }) => safe(`skipped ${id}: ${problem}`));
  const age = ageMs === undefined ? "of unknown age" : `${ageMs} ms old`;
  const warning = stale ? "; STALE: Consul has no leader, or has not heard of it for long" : "";
  return `${[...lines, ...bad, "", `${age}${warning}`].join("\n")}\n`;
}

function tell(text: string): 1 {
  process.stderr.write(`plinth: ${safe(text)}\n`);
  return 1;
}
