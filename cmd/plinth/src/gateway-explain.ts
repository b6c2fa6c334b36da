import { checkGatewayDocument, type Explanation, explainRequest } from "@plinth/gateway";
import { AppError } from "@plinth/kernel";
import { createConsulClient, plinthOptionsFrom } from "@plinth/registry";
import type { GatewayExplanation } from "./gateway-arguments.ts";
import { safe, toTable } from "./table.ts";

/** One instance of a service, or what kept Consul from telling. */
type Instances = readonly { readonly id: string; readonly state: string; readonly address: string }[] | string;

/**
 * Prints what a gateway would do with a request.
 * @returns The exit code: 0, or 1 where the document has faults.
 */
export async function explainGateway(question: GatewayExplanation, print: (line: string) => void): Promise<number> {
  const { file, method, url, headers, from, isJson } = question;
  const { document, faults } = checkGatewayDocument(file, { proof: "start" });
  if (document === undefined) {
    for (const { source, key, problem } of faults) print(safe(`${source}: ${key}: ${problem}`));
    return 1;
  }
  const explanation = explainRequest(document, { method, url, headers, from, nowMs: Date.now() });
  const listed = explanation.route?.serviceSettings?.static;
  const instances = listed
    ? listed.map((address) => ({ id: "static", state: "in the document", address }))
    : await instancesOf(question, explanation.forwarded?.service);
  if (isJson) print(JSON.stringify({ ...explanation, ...(instances === undefined ? {} : { instances }) }, null, 2));
  else for (const line of toText(explanation, instances)) print(line);
  return 0;
}

async function instancesOf(
  { consul, limitMs }: GatewayExplanation,
  service: string | undefined,
): Promise<Instances | undefined> {
  if (consul === undefined || service === undefined) return undefined;
  try {
    const client = createConsulClient({ ...plinthOptionsFrom(process.env), address: consul });
    try {
      const { items } = await client.health(service, { signal: AbortSignal.timeout(limitMs) });
      return items.map(({ service: { id, address, port }, node, status }) => ({
        id,
        state: status,
        address: `${address === "" ? node.address : address}:${port}`,
      }));
    } finally {
      await client.close();
    }
  } catch (error) {
    return AppError.from(error).message;
  }
}

function toText(explanation: Explanation, instances: Instances | undefined): string[] {
  const { request, route, auth, lost, otherPaths, forwarded } = explanation;
  const rows: string[][] = [["outcome", outcomeText(explanation)]];
  if (request.path !== undefined) rows.push(["path", `${request.path}${request.query} at host ${request.host}`]);
  if (route) {
    const limits = route.limits.map(({ name, limit, windowMs, cost, by, shadow }) => {
      const more = `${cost === 1 ? "" : `, ${cost} a request`}${shadow ? ", shadow" : ""}`;
      return `${name}: ${limit} in ${windowMs} ms by ${JSON.stringify(by)}${more}`;
    });
    rows.push(["route", `${route.name}, by ${route.pattern}`]);
    rows.push(["needs", auth?.needs === undefined ? "nothing: it is for everybody" : JSON.stringify(auth.needs)]);
    if (auth?.token) rows.push(["token", tokenText(auth.token)]);
    rows.push(...limits.map((text) => ["limit", text]));
    rows.push(
      ...route.plugins.map(({ name }) => ["plugin", `${name}: what it says is known to the gateway's own program`]),
    );
    const time = route.timeoutMs === 0 ? "no end" : `${route.timeoutMs} ms`;
    const { tls: _files, static: _listed, ...settings } = route.serviceSettings ?? {};
    rows.push(...Object.entries(settings).map(([name, value]) => [name, JSON.stringify(value)]));
    if (route.hedging) rows.push(["hedging", JSON.stringify(route.hedging)]);
    rows.push(["bounds", `${time}, body of ${route.maxBodyBytes} bytes`]);
  }
  if (forwarded) {
    rows.push(["service", forwarded.service], ["gets", `${request.method} ${forwarded.target}`]);
    rows.push(...forwarded.removed.map(({ name, why }) => ["removed", `${name}: ${why}`]));
    rows.push(...forwarded.added.map(({ name, value }) => ["added", `${name}: ${value}`]));
  }
  if (typeof instances === "string") rows.push(["instances", `not known: ${instances}`]);
  else if (instances?.length === 0) rows.push(["instances", "none is registered"]);
  else for (const { id, state, address } of instances ?? []) rows.push(["instance", `${id} ${address} ${state}`]);
  rows.push(...lost.map((other) => ["lost", `${other.route}, ${other.pattern}: ${other.why.join("; ")}`]));
  if (otherPaths > 0) rows.push(["lost", `${otherPaths} pattern${otherPaths === 1 ? "" : "s"} for other paths`]);
  return toTable(rows);
}

function outcomeText({ outcome, forwarded, auth }: Explanation): string {
  if (outcome.kind === "redirect") return `${outcome.status} to ${outcome.location}`;
  if (outcome.kind === "refuse") return `${outcome.status} ${outcome.reason}: ${outcome.detail}`;
  const condition = auth?.token ? ", if the signature of the token holds" : "";
  return `forwarded to ${forwarded?.service ?? "the service"}${condition}`;
}

function tokenText({ provider, subject, scopes, fault, refusal, expiresAt }: TokenExplanation): string {
  if (refusal !== undefined)
    return `${refusal}${fault === undefined ? "" : ` (${fault})`}; its signature was not checked`;
  const of = `of ${subject} from ${provider} with ${scopes?.join(" ") || "no scopes"} until ${expiresAt}`;
  return `${of}; its signature was not checked, nor whether it is revoked`;
}

type TokenExplanation = NonNullable<NonNullable<Explanation["auth"]>["token"]>;
