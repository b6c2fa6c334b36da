import { isIP } from "node:net";
import { RegistryError } from "./errors.ts";
import type { Instance, InstanceChanges, NewInstance, Ports } from "./registry.ts";

const serviceName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const idRule = "letters, digits and any of . _ : @ -, at most 255 characters";
const instanceId = /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,254}$/;
const hostName =
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/;
const metadataKey = /^(?!plinth-|consul-)[A-Za-z0-9_-]{1,128}$/;
const maxMetadata = 59; // Consul takes 64 pairs, and five are ours
const maxTextLength = 512; // Consul's limit for a value of Meta

/**
 * Checks an instance and fills in what was left out; every registry has the same rules, those of the strictest.
 * @throws {@link RegistryError} `ERR_REGISTRY_INSTANCE`, naming the field.
 */
export function toInstance(given: NewInstance): Instance {
  requireServiceName(given.service);
  const { id, host, version, zone, weight = 1, tags = [], metadata = {}, identity } = given;
  check(instanceId.test(id), "id", id, idRule);
  check(identity === undefined || instanceId.test(identity), "identity", identity, idRule);
  check(isHost(host), "host", host, "a name or IP address that others can connect to, without port or brackets");
  check(
    Number.isInteger(weight) && weight >= 1 && weight <= 65_535,
    "weight",
    weight,
    "a whole number from 1 to 65535",
  );
  for (const [field, text] of Object.entries({ version, zone })) {
    check(text === undefined || isText(text), field, text, `1 to ${maxTextLength} characters`);
  }
  for (const tag of tags) check(isText(tag), "tags", tag, `1 to ${maxTextLength} characters each`);
  const pairs = Object.entries(metadata).toSorted(([a], [b]) => (a < b ? -1 : 1));
  check(pairs.length <= maxMetadata, "metadata", `${pairs.length} entries`, `at most ${maxMetadata}`);
  for (const [key, value] of pairs) {
    check(
      metadataKey.test(key),
      "metadata",
      key,
      "keys of letters, digits, _ and -, not beginning with plinth- or consul-",
    );
    check(value.length <= maxTextLength, `metadata.${key}`, `${value.length} characters`, `at most ${maxTextLength}`);
  }
  return frozenInstance({
    service: given.service,
    id,
    host,
    ports: toPorts(given.ports),
    version,
    zone,
    weight,
    tags,
    metadata: Object.fromEntries(pairs),
    identity,
    status: "passing",
  });
}

/** What an instance is after changes, checked as {@link toInstance} does. */
export function changedInstance({ status, ...before }: Instance, changes: InstanceChanges): Instance {
  const { version = before.version, zone = before.zone, weight = before.weight, tags = before.tags } = changes;
  const { metadata = before.metadata } = changes;
  return withStatus(toInstance({ ...before, version, zone, weight, tags, metadata }), status);
}

/** The same instance with a status; itself when it has that already. */
export function withStatus(instance: Instance, status: Instance["status"]): Instance {
  return instance.status === status ? instance : Object.freeze({ ...instance, status });
}

/** @throws {@link RegistryError} `ERR_REGISTRY_INSTANCE` */
export function requireServiceName(service: string): void {
  check(serviceName.test(service), "service", service, "letters, digits and any of . _ -, at most 128 characters");
}

/** Fields in a fixed order, absent ones left out: equal instances have equal JSON. */
export function frozenInstance(
  fields: Omit<Instance, "version" | "zone" | "identity"> & {
    readonly version: string | undefined;
    readonly zone: string | undefined;
    readonly identity: string | undefined;
  },
): Instance {
  const { service, id, host, ports, version, zone, weight, tags, metadata, identity, status } = fields;
  return Object.freeze({
    service,
    id,
    host,
    ports: Object.freeze(ports),
    ...(version === undefined ? {} : { version }),
    ...(zone === undefined ? {} : { zone }),
    weight,
    tags: Object.freeze([...tags]),
    metadata: Object.freeze(metadata),
    ...(identity === undefined ? {} : { identity }),
    status,
  });
}

/** True when they do not differ in any field. */
export function sameInstance(a: Instance, b: Instance): boolean {
  if (a === b) return true;
  return (
    scalars.every((field) => a[field] === b[field]) &&
    a.ports.http === b.ports.http &&
    a.ports.grpc === b.ports.grpc &&
    a.tags.length === b.tags.length &&
    a.tags.every((tag, at) => tag === b.tags[at]) &&
    sameEntries(a.metadata, b.metadata)
  );
}

const scalars = ["id", "status", "host", "weight", "version", "zone", "identity", "service"] as const;

function sameEntries(a: Instance["metadata"], b: Instance["metadata"]): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key]);
}

export function byId(a: Instance, b: Instance): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}

/**
 * `host:port` of an instance for a URL, an IPv6 address in brackets; undefined when it does not speak the protocol.
 * @example authorityOf(instance, "http") // "127.0.0.1:3000"
 */
export function authorityOf({ host, ports }: Instance, protocol: keyof Ports): string | undefined {
  const port = ports[protocol];
  return port === undefined ? undefined : formatAuthority(host, port);
}

export function formatAuthority(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True for the addresses that mean "all of them": fine to listen on, of no use to a caller. */
export function isUnspecified(host: string): boolean {
  return host === "0.0.0.0" || (isIP(host) === 6 && /^[0:]+$/.test(host));
}

function toPorts({ http, grpc }: Ports): Ports {
  check(http !== undefined || grpc !== undefined, "ports", "none", "an http or a grpc port");
  for (const [protocol, port] of Object.entries({ http, grpc })) {
    check(port === undefined || isPort(port), `ports.${protocol}`, port, "a whole number from 1 to 65535");
  }
  return { ...(http === undefined ? {} : { http }), ...(grpc === undefined ? {} : { grpc }) };
}

export function isPort(port: unknown): port is number {
  return typeof port === "number" && Number.isInteger(port) && port >= 1 && port <= 65_535;
}

/** Whether a text can be the id of an instance here, and so be sent in a header. */
export function isInstanceId(text: string): boolean {
  return instanceId.test(text);
}

export function isHost(host: string): boolean {
  return (isIP(host) !== 0 || hostName.test(host)) && !isUnspecified(host);
}

function isText(text: string): boolean {
  return text.length >= 1 && text.length <= maxTextLength;
}

function check(holds: boolean, field: string, given: unknown, expected: string): asserts holds {
  if (holds) return;
  throw new RegistryError(
    "ERR_REGISTRY_INSTANCE",
    "invalid_argument",
    `${field} of an instance must be ${expected}, not ${JSON.stringify(given)?.slice(0, 100)}`,
  );
}
