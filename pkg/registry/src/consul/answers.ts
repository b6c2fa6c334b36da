import { messageOf } from "@plinth/kernel";
import { z } from "zod";
import { RegistryError } from "../errors.ts";
import type { SkippedEntry } from "../registry.ts";

/** State of a check, and of what has it. `maintenance`: taken out by hand, whatever its other checks say. */
export type ConsulStatus = "passing" | "warning" | "critical";

export interface ConsulCheck {
  readonly id: string;
  readonly name: string;
  readonly status: ConsulStatus;
  readonly output: string;
  /** Empty for a check of the node. */
  readonly serviceId: string;
}

export interface ConsulService {
  readonly id: string;
  readonly name: string;
  /** Empty when it is that of the node. */
  readonly address: string;
  readonly port: number;
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  readonly weights: { readonly passing: number; readonly warning: number };
}

/** One instance of a service on one node, with the checks of both. */
export interface ConsulHealthEntry {
  readonly node: { readonly name: string; readonly address: string; readonly datacenter: string | undefined };
  readonly service: ConsulService;
  readonly checks: readonly ConsulCheck[];
  /** The worst of its checks; `maintenance` before all. */
  readonly status: ConsulStatus | "maintenance";
}

export interface ConsulSelf {
  readonly datacenter: string;
  readonly nodeName: string;
  /** `1.8.7`, as the agent says it. */
  readonly version: string;
  readonly isServer: boolean;
}

const status = z.enum(["passing", "warning", "critical"]);
const text = z.string().nullish();

const checkSchema = z
  .object({ CheckID: z.string(), Name: text, Status: status, Output: text, ServiceID: text })
  .transform(({ CheckID, Name, Status, Output, ServiceID }): ConsulCheck => ({
    id: CheckID,
    name: Name ?? "",
    status: Status,
    output: Output ?? "",
    serviceId: ServiceID ?? "",
  }));

const serviceSchema = z
  .object({
    ID: z.string().min(1),
    Service: z.string().min(1),
    Address: text,
    Port: z.int().min(0).max(65_535).nullish(),
    Tags: z.array(z.string()).nullish(),
    Meta: z.record(z.string(), z.string()).nullish(),
    Weights: z.object({ Passing: z.int(), Warning: z.int() }).nullish(),
  })
  .transform(({ ID, Service, Address, Port, Tags, Meta, Weights }): ConsulService => ({
    id: ID,
    name: Service,
    address: Address ?? "",
    port: Port ?? 0,
    tags: Tags ?? [],
    meta: Meta ?? {},
    weights: { passing: Weights?.Passing ?? 1, warning: Weights?.Warning ?? 1 },
  }));

const healthSchema = z
  .object({
    Node: z.object({ Node: z.string(), Address: text, Datacenter: text }),
    Service: serviceSchema,
    Checks: z.array(checkSchema).nullish(),
  })
  .transform(({ Node, Service, Checks }): ConsulHealthEntry => ({
    node: { name: Node.Node, address: Node.Address ?? "", datacenter: Node.Datacenter ?? undefined },
    service: Service,
    checks: Checks ?? [],
    status: worstOf(Checks ?? []),
  }));

const selfSchema = z
  .object({
    Config: z.object({ Datacenter: z.string(), NodeName: z.string(), Version: z.string(), Server: z.boolean() }),
  })
  .transform(({ Config }): ConsulSelf => ({
    datacenter: Config.Datacenter,
    nodeName: Config.NodeName,
    version: Config.Version,
    isServer: Config.Server,
  }));

/** Those that make sense, and what is wrong with each of the others. */
export interface Sifted<T> {
  readonly items: readonly T[];
  readonly skipped: readonly SkippedEntry[];
}

export function siftHealth(entries: readonly unknown[]): Sifted<ConsulHealthEntry> {
  return sift(
    healthSchema,
    entries.map((entry) => [healthId(entry), entry] as const),
  );
}

/** @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE` */
export function siftServices(json: string, what: string): Sifted<ConsulService> {
  return sift(serviceSchema, Object.entries(parseObject(json, what)));
}

/** @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE` */
export function siftChecks(json: string, what: string): Sifted<ConsulCheck> {
  return sift(checkSchema, Object.entries(parseObject(json, what)));
}

/** Names of services with all their tags. @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE` */
export function siftCatalog(
  json: string,
  what: string,
): Sifted<{ readonly name: string; readonly tags: readonly string[] }> {
  const entries: [string, unknown][] = Object.entries(parseObject(json, what));
  return sift(
    z.object({ name: z.string(), tags: z.array(z.string()) }),
    entries.map(([name, tags]) => [name, { name, tags: tags ?? [] }] as const),
  );
}

/** @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE` */
export function parseSelf(json: string, what: string): ConsulSelf {
  const read = selfSchema.safeParse(parseJson(json, what));
  if (!read.success) throw responseError(what, problemOf(read.error));
  return read.data;
}

/** `host:port` of the leader; undefined without one. @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE` */
export function parseLeader(json: string, what: string): string | undefined {
  const leader = parseJson(json, what);
  if (typeof leader !== "string") throw responseError(what, `text was expected, not ${excerpt(leader)}`);
  return leader === "" ? undefined : leader;
}

/** @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE`, naming `what` was asked for. */
export function parseArray(json: string, what: string): readonly unknown[] {
  const parsed = parseJson(json, what);
  if (!Array.isArray(parsed)) throw responseError(what, `a list was expected, not ${excerpt(parsed)}`);
  return parsed;
}

/** @throws {@link RegistryError} `ERR_REGISTRY_RESPONSE` */
export function parseJson(json: string, what: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw responseError(what, messageOf(cause), { cause });
  }
}

export function responseError(what: string, why: string, options: { readonly cause?: unknown } = {}): RegistryError {
  return new RegistryError(
    "ERR_REGISTRY_RESPONSE",
    "internal",
    `the answer for ${what} cannot be read: ${why}; does something other than Consul answer there?`,
    options,
  );
}

function parseObject(json: string, what: string): object {
  const parsed = parseJson(json, what);
  if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return parsed;
  throw responseError(what, `an object was expected, not ${excerpt(parsed)}`);
}

function sift<T>(schema: z.ZodType<T>, entries: readonly (readonly [id: string, entry: unknown])[]): Sifted<T> {
  const items: T[] = [];
  const skipped: SkippedEntry[] = [];
  for (const [id, entry] of entries) {
    const read = schema.safeParse(entry);
    if (read.success) items.push(read.data);
    else skipped.push({ id: id.slice(0, 255), problem: problemOf(read.error) });
  }
  return { items, skipped };
}

function problemOf({ issues: [issue] }: z.ZodError): string {
  return `${issue?.path.join(".") || "entry"}: ${issue?.message ?? "not as expected"}`;
}

function healthId(entry: unknown): string {
  const read = z.object({ Service: z.object({ ID: z.string() }) }).safeParse(entry);
  return read.success ? read.data.Service.ID : "(no id)";
}

function excerpt(value: unknown): string {
  return JSON.stringify(value).slice(0, 100);
}

/** As Consul's own clients add checks up. */
function worstOf(checks: readonly ConsulCheck[]): ConsulHealthEntry["status"] {
  if (checks.some(({ id }) => id === "_node_maintenance" || id.startsWith("_service_maintenance:")))
    return "maintenance";
  for (const bad of ["critical", "warning"] as const) if (checks.some((check) => check.status === bad)) return bad;
  return "passing";
}
