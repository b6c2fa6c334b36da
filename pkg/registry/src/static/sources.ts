import { OptionError, requireNumber } from "@plinth/kernel";
import { formatAuthority, isHost, isPort, requireServiceName, toInstance } from "../instance.ts";
import type { Instance, NewInstance, Ports } from "../registry.ts";

/** Ports by protocol, at least one. */
export type StaticPorts = { readonly [K in keyof Ports]?: Ports[K] | undefined };

/** What all instances of a source have in common. */
type Shared = Pick<NewInstance, "version" | "zone" | "weight" | "tags" | "metadata">;

/** One instance by name or address. */
export interface StaticInstance extends Shared {
  readonly host: string;
  readonly ports: StaticPorts;
  /** Default: made of the service, the host and the first port. */
  readonly id?: string | undefined;
}

interface LookedUp extends Shared {
  /** Asked again after so long at the latest, and when its TTL has passed, in milliseconds, 1_000 or more. Default 30_000. */
  readonly refreshMs?: number | undefined;
  /** Only addresses of IPv4, or of IPv6. Default: both. */
  readonly family?: 4 | 6 | undefined;
}

/** An instance for each A and AAAA record of a name, all with the same ports. */
export interface DnsSource extends LookedUp {
  readonly dns: string;
  readonly ports: StaticPorts;
}

/** An instance for each address of each target of SRV records, those of the lowest priority that can be found; weight 0 counts as 1. */
export interface SrvSource extends LookedUp {
  readonly srv: string;
  readonly protocol: keyof Ports;
}

export type StaticSource = readonly StaticInstance[] | DnsSource | SrvSource;
/** Where the instances of each service are, by its name. */
export type StaticServices = Readonly<Record<string, StaticSource>>;

export function isList(source: StaticSource): source is readonly StaticInstance[] {
  return Array.isArray(source);
}

/**
 * Checks all sources.
 * @throws {@link RegistryError} `ERR_REGISTRY_INSTANCE`, {@link OptionError} `ERR_OPTION_RANGE`, naming service and field.
 */
export function requireSources(services: StaticServices): void {
  for (const [service, source] of Object.entries(services)) {
    requireServiceName(service);
    if (isList(source)) {
      const ids = listed(service, source).map(({ id }) => id);
      const twin = ids.find((id, at) => ids.indexOf(id) !== at);
      if (twin !== undefined) throw wrong(service, `two instances have the id ${twin}; give each one of its own`);
      continue;
    }
    const name = "dns" in source ? source.dns : source.srv;
    if (!isHost(name)) throw wrong(service, `${JSON.stringify(name)} is no name to look up`);
    if ("dns" in source) foundAt(service, source, "127.0.0.1", source.ports);
    if (source.refreshMs !== undefined)
      requireNumber(`services.${service}.refreshMs`, source.refreshMs, { min: 1_000 });
  }
}

/** The instances of a list. @throws {@link RegistryError} `ERR_REGISTRY_INSTANCE` */
export function listed(service: string, source: readonly StaticInstance[]): readonly Instance[] {
  return source.map(({ host, ports, id = idOf(service, host, ports), ...shared }) =>
    toInstance({ ...shared, service, id, host, ports: given(ports) }),
  );
}

/** An instance that was looked up. */
export function foundAt(
  service: string,
  { version, zone, weight, tags, metadata }: Shared,
  host: string,
  ports: StaticPorts,
): Instance {
  return toInstance({
    service,
    id: idOf(service, host, ports),
    host,
    ports: given(ports),
    version,
    zone,
    weight,
    tags,
    metadata,
  });
}

function given({ http, grpc }: StaticPorts): Ports {
  return { ...(http === undefined ? {} : { http }), ...(grpc === undefined ? {} : { grpc }) };
}

function idOf(service: string, host: string, { http, grpc }: StaticPorts): string {
  const port = http ?? grpc;
  return `${service}@${isPort(port) ? formatAuthority(host, port).replaceAll(/[[\]]/g, "") : host}`;
}

function wrong(service: string, why: string): OptionError {
  return new OptionError("ERR_OPTION_RANGE", "invalid_argument", `services.${service}: ${why}`);
}
