import { z } from "zod";
import { frozenInstance, isHost, isPort } from "../instance.ts";
import type { Instance, SkippedEntry } from "../registry.ts";
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
    ID: z.string().min(1).max(255),
    Address: z.string().nullish(),
    Port: z.number().int().nullish(),
    Tags: z.array(z.string()).nullish(),
    Meta: z.record(z.string(), z.string()).nullish(),
    Weights: z.object({ Passing: z.number().int().min(1).max(65_535) }).nullish(),
  }),
});

/**
 * The instances in an answer. An entry that makes no sense is skipped alone.
 *
 * Entries of others than Plinth say one port: it is taken for http. An id is unique only within one agent, so entries of
 * several nodes with one id get the node's name appended, unless they say the same address: then they are one.
 */
export function parseEntries(
  service: string,
  entries: readonly unknown[],
): { readonly instances: readonly Instance[]; readonly skipped: readonly SkippedEntry[] } {
  const found: { readonly instance: Instance; readonly node: string }[] = [];
  const skipped: SkippedEntry[] = [];
  const addresses = new Map<string, Set<string>>();
  for (const entry of entries) {
    const read = parseEntry(service, entry);
    if ("problem" in read) {
      skipped.push(read);
      continue;
    }
    const { id, host, ports } = read.instance;
    const address = JSON.stringify([host, ports]);
    const known = addresses.get(id);
    if (known?.has(address)) continue;
    addresses.set(id, (known ?? new Set()).add(address));
    found.push(read);
  }
  const instances = found.map(({ instance, node }) =>
    addresses.get(instance.id)?.size === 1 ? instance : Object.freeze({ ...instance, id: `${instance.id}@${node}` }),
  );
  return { instances, skipped };
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
    Weights: { Passing: weight, Warning: 1 },
    Checks: checks,
  };
}

function parseEntry(
  service: string,
  entry: unknown,
): { readonly instance: Instance; readonly node: string } | SkippedEntry {
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
  const metadata = Object.entries(meta)
    .filter(([key]) => !key.startsWith(metaPrefix))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    node: node.Node,
    instance: frozenInstance({
      service,
      id: given.ID,
      host,
      ports,
      version: meta[metaKeys.version],
      zone: meta[metaKeys.zone],
      identity: meta[metaKeys.identity],
      weight: given.Weights?.Passing ?? 1,
      tags: given.Tags ?? [],
      metadata: Object.fromEntries(metadata),
      status: "passing",
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
