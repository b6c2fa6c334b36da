import { z } from "zod";
import { frozenInstance, isHost, isInstanceId, isPort } from "../instance.ts";
import type { Instance, InstanceCounts, InstanceState, SkippedEntry } from "../registry.ts";
import { countStates, inTraffic, type StatedInstance } from "../states.ts";
import type { ServiceDefinition } from "./client.ts";

const metaPrefix = "plinth-";
const metaKeys = {
  http: `${metaPrefix}http-port`,
  grpc: `${metaPrefix}grpc-port`,
  version: `${metaPrefix}version`,
  zone: `${metaPrefix}zone`,
  identity: `${metaPrefix}identity`,
} as const;

/** What is read of an element of `GET /v1/health/service/:service`; the rest is ignored. */
const entrySchema = z.object({
  Node: z.object({ Node: z.string().default(""), Address: z.string().default("") }),
  Service: z.object({
    ID: z
      .string()
      .min(1)
      .max(255)
      .regex(/^\P{Cc}+$/u, "control characters in an id"),
    Address: z.string().nullish(),
    Port: z.number().int().nullish(),
    Tags: z.array(z.string()).nullish(),
    Meta: z.record(z.string(), z.string()).nullish(),
    Weights: z.object({ Passing: z.number().int().min(1).max(65_535) }).nullish(),
  }),
  Checks: z.array(z.object({ CheckID: z.string().default(""), Status: z.string() })).nullish(),
});

/** What is read of an answer. */
export interface ReadEntries {
  /** Those that get traffic. */
  readonly instances: readonly Instance[];
  /** Those that only their machine's agent, which is silent, keeps from it: nothing says that they are dead themselves. */
  readonly silent: readonly Instance[];
  /** All of them, counted. */
  readonly states: InstanceCounts;
  readonly skipped: readonly SkippedEntry[];
}

interface ReadEntry extends StatedInstance {
  readonly node: string;
  readonly isSilent: boolean;
}

/**
 * The instances in an answer. An entry that makes no sense is skipped alone.
 *
 * Entries of others than Plinth say one port: it is taken for http. An id is unique only within one agent, so entries of
 * several nodes with one id get the node's name appended, unless they say the same address: then they are one, that does as well as
 * the best of them. What gets no traffic is counted and changes nothing for the others.
 */
export function parseEntries(service: string, entries: readonly unknown[]): ReadEntries {
  const skipped: SkippedEntry[] = [];
  /** By id, then by address. */
  const found = new Map<string, Map<string, ReadEntry>>();
  for (const entry of entries) {
    const read = parseEntry(service, entry);
    if ("problem" in read) {
      skipped.push(read);
      continue;
    }
    const { id, host, ports } = read.instance;
    const address = JSON.stringify([host, ports]);
    const twins = found.get(id) ?? new Map<string, ReadEntry>();
    const known = twins.get(address);
    if (!known || states.indexOf(read.state) < states.indexOf(known.state)) twins.set(address, read);
    found.set(id, twins);
  }
  const all = [...found.values()].flatMap((twins) => [...twins.values()]);
  const live = [...found.values()].flatMap((twins) => {
    const own = [...twins.values()].filter(isInTraffic);
    return own.length < 2 ? own : own.map(withNode);
  });
  const silent = all.filter(({ isSilent }) => isSilent).map(({ instance }) => instance);
  return { instances: inTraffic(live), silent, states: countStates(all), skipped };
}

/** State and tags of each entry that makes sense, for those who count. */
export function parseStates(
  service: string,
  entries: readonly unknown[],
): readonly { readonly state: InstanceState; readonly tags: readonly string[] }[] {
  return entries.flatMap((entry) => {
    const read = parseEntry(service, entry);
    return "problem" in read ? [] : [{ state: read.state, tags: read.instance.tags }];
  });
}

function isInTraffic({ state }: ReadEntry): boolean {
  return state === "passing" || state === "warning";
}

function withNode({ instance, ...entry }: ReadEntry): ReadEntry {
  return { ...entry, instance: Object.freeze({ ...instance, id: `${instance.id}@${entry.node}` }) };
}

/** From the best to the worst. */
const states: readonly InstanceState[] = ["passing", "warning", "maintenance", "critical"];

/** What the checks of an entry, its node's among them, say together; one that says what Consul does not is no reason for traffic. */
function stateOf(checks: readonly { readonly CheckID: string; readonly Status: string }[]): InstanceState {
  const failing = checks.filter(({ Status }) => Status !== "passing");
  if (failing.some(({ CheckID }) => isMaintenance(CheckID))) return "maintenance";
  if (failing.some(({ Status }) => Status !== "warning")) return "critical";
  return failing.length > 0 ? "warning" : "passing";
}

/** Whether the gossip between agents is all that speaks against it: the agent of its machine is gone, which says nothing of what else runs there. */
function isSilent(checks: readonly { readonly CheckID: string; readonly Status: string }[]): boolean {
  const failing = checks.filter(({ Status }) => Status !== "passing" && Status !== "warning");
  return failing.length > 0 && failing.every(({ CheckID }) => CheckID === "serfHealth");
}

/** @see https://developer.hashicorp.com/consul/api-docs/agent/service#enable-maintenance-mode */
function isMaintenance(checkId: string): boolean {
  return checkId === "_node_maintenance" || checkId.startsWith("_service_maintenance:");
}

/** How an instance is written into Consul, which knows one port: the others go into `Meta`. */
export function toServiceDefinition(instance: Instance, checks: ServiceDefinition["Checks"]): ServiceDefinition {
  const { service, id, host, ports, version, zone, weight, tags, metadata, identity } = instance;
  const known = {
    [metaKeys.http]: ports.http,
    [metaKeys.grpc]: ports.grpc,
    [metaKeys.version]: version,
    [metaKeys.zone]: zone,
    [metaKeys.identity]: identity,
  };
  const own = Object.entries(known).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, String(value)] as const],
  );
  return {
    ID: id,
    Name: service,
    Address: host,
    Port: ports.http ?? ports.grpc ?? 0,
    Tags: tags,
    Meta: { ...metadata, ...Object.fromEntries(own) },
    Weights: { Passing: weight, Warning: weight }, // one that is degraded serves as before
    Checks: checks,
  };
}

function parseEntry(service: string, entry: unknown): ReadEntry | SkippedEntry {
  const parsed = entrySchema.safeParse(entry);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return { id: idOf(entry), problem: `${issue?.path.join(".") ?? "entry"}: ${issue?.message ?? "not an object"}` };
  }
  const { Node: node, Service: given } = parsed.data;
  const host = given.Address || node.Address;
  if (!isHost(host)) return { id: given.ID, problem: `Service.Address: ${JSON.stringify(host)} is no address` };
  const meta = given.Meta ?? {};
  const ports = portsOf(meta, given.Port);
  if (!ports) return { id: given.ID, problem: `Service.Port: ${given.Port ?? "none"} is no port` };
  const identity = meta[metaKeys.identity];
  if (identity !== undefined && !isInstanceId(identity)) {
    return {
      id: given.ID,
      problem: `Service.Meta.${metaKeys.identity}: ${JSON.stringify(identity).slice(0, 100)} is no id`,
    };
  }
  const metadata = Object.entries(meta)
    .filter(([key]) => !key.startsWith(metaPrefix))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  const state = stateOf(parsed.data.Checks ?? []);
  return {
    node: node.Node,
    state,
    isSilent: isSilent(parsed.data.Checks ?? []),
    instance: frozenInstance({
      service,
      id: given.ID,
      host,
      ports,
      version: meta[metaKeys.version],
      zone: meta[metaKeys.zone],
      identity,
      weight: given.Weights?.Passing ?? 1,
      tags: given.Tags ?? [],
      metadata: Object.fromEntries(metadata),
      status: state === "warning" ? "warning" : "passing",
    }),
  };
}

function portsOf(
  meta: Readonly<Record<string, string>>,
  port: number | null | undefined,
): Instance["ports"] | undefined {
  const http = meta[metaKeys.http];
  const grpc = meta[metaKeys.grpc];
  if (http === undefined && grpc === undefined) return isPort(port) ? { http: port } : undefined;
  const ports = {
    ...(http === undefined ? {} : { http: Number(http) }),
    ...(grpc === undefined ? {} : { grpc: Number(grpc) }),
  };
  return Object.values(ports).every(isPort) ? ports : undefined;
}

function idOf(entry: unknown): string {
  const shape = z.object({ Service: z.object({ ID: z.string().max(255) }) }).safeParse(entry);
  return shape.success ? shape.data.Service.ID : "(no id)";
}
