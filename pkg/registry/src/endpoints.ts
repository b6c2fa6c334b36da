import { BlockList, isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { token } from "@plinth/kernel";
import { RegistryError } from "./errors.ts";
import { isUnspecified } from "./instance.ts";
import type { Ports } from "./registry.ts";

/** Something this app listens on and others may call. */
export interface Endpoint {
  readonly protocol: keyof Ports;
  /** The host it listens on; `0.0.0.0` and `::` are replaced by an address that others can reach. */
  readonly host: string;
  /** The port it listens on; asked when the app joins, since port 0 is known only after listening. */
  port(): number;
  /** Path that answers 2xx while the app is ready, if it has one here. Default none. */
  readonly readyPath?: string | undefined;
  /** It refuses calls that carry the id of another instance in `plinth-instance`. Default false. */
  readonly checksIdentity?: boolean | undefined;
  /** It speaks TLS, as do who calls it and what checks it. Default false. */
  readonly tls?: boolean | undefined;
  /** Why nobody who knows its host and port alone could use it: it is left out of the instance, and the log says so. Absent: they can. */
  readonly unusable?: string | undefined;
}

/** What this app registers itself with; the HTTP and gRPC servers add to it. With none it is not registered. */
export const endpoints = token("registry.endpoints").listOf<Endpoint>();

/** Addresses of this machine, as `os.networkInterfaces()` gives them. */
export type Interfaces = ReturnType<typeof networkInterfaces>;

/**
 * Ports by protocol.
 * @throws {@link RegistryError} `ERR_REGISTRY_ENDPOINT` when two endpoints have one protocol.
 */
export function portsOf(all: readonly Endpoint[]): Ports {
  const ports: { http?: number; grpc?: number } = {};
  for (const endpoint of all) {
    const { protocol } = endpoint;
    const port = endpoint.port();
    if (ports[protocol] !== undefined) {
      throw new RegistryError(
        "ERR_REGISTRY_ENDPOINT",
        "failed_precondition",
        `two endpoints speak ${protocol}, on ports ${ports[protocol]} and ${port}; an instance has one port for each protocol`,
      );
    }
    ports[protocol] = port;
  }
  return ports;
}

/** What is known of the machine that an app runs on. */
export interface Machine {
  /** Default: what Node says. */
  readonly interfaces?: (() => Interfaces) | undefined;
  /** Its address towards the agent of the registry, if that is on another machine. */
  readonly towardsAgent?: string | undefined;
}

/**
 * The host that others reach this app at: the given one; else the one it listens on; else, listening on all of them, this machine's address
 * towards the agent, its first address that is not internal, or loopback.
 *
 * @param given - A name or address; or which of this machine's addresses it is: that of an interface, such as `eth0`, or the first in a
 *   network, such as `10.0.0.0/8`. IPv4 comes first.
 * @throws {@link RegistryError} `ERR_REGISTRY_HOST` when the endpoints listen on different addresses, and when no address is as given.
 */
export function advertisedHost(
  all: readonly Endpoint[],
  given: string | undefined,
  { interfaces = networkInterfaces, towardsAgent }: Machine = {},
): string {
  if (given !== undefined) return chosenHost(given, interfaces());
  const hosts = new Set(all.map(({ host }) => host.replace(/^\[(.*)\]$/, "$1")));
  const specific = [...hosts].filter((host) => !isUnspecified(host));
  const [only] = specific;
  if (specific.length > 1) {
    throw new RegistryError(
      "ERR_REGISTRY_HOST",
      "failed_precondition",
      `the endpoints listen on ${specific.join(" and ")}, and an instance has one host; set registry.advertiseHost`,
    );
  }
  if (only !== undefined) return only;
  const onlyIpv6 = [...hosts].every((host) => isIP(host) === 6);
  return towardsAgent ?? ownAddress(interfaces(), onlyIpv6) ?? "127.0.0.1";
}

/** Whether the rule asks for the route to the agent. */
export function listensEverywhere(all: readonly Endpoint[], given: string | undefined): boolean {
  return given === undefined && all.every(({ host }) => isUnspecified(host.replace(/^\[(.*)\]$/, "$1")));
}

function chosenHost(given: string, interfaces: Interfaces): string {
  const named = interfaces[given];
  if (named === undefined && !given.includes("/")) return given;
  const candidates = (named ?? Object.values(interfaces).flatMap((each) => each ?? []))
    .filter(({ address }) => !address.toLowerCase().startsWith("fe80:"))
    .toSorted((a, b) => (a.family === b.family ? 0 : a.family === "IPv4" ? -1 : 1));
  const inNetwork = named ? () => true : networkOf(given);
  const found = candidates.find(({ address }) => inNetwork(address));
  if (found) return found.address;
  const there = Object.entries(interfaces).flatMap(([name, each]) =>
    (each ?? []).map(({ address }) => `${name} ${address}`),
  );
  throw new RegistryError(
    "ERR_REGISTRY_HOST",
    "failed_precondition",
    `no address of this machine is in ${given}, which registry.advertiseHost asks for; there are ${there.join(", ") || "none"}`,
  );
}

function networkOf(cidr: string): (address: string) => boolean {
  const [network = "", bits = ""] = cidr.split("/", 2);
  const family = isIP(network);
  if (family === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 6 ? 128 : 32)) {
    throw new RegistryError(
      "ERR_REGISTRY_HOST",
      "failed_precondition",
      `registry.advertiseHost ${JSON.stringify(cidr)} is no network; write a host, the name of an interface, or a network such as 10.0.0.0/8`,
    );
  }
  const list = new BlockList();
  list.addSubnet(network, Number(bits), family === 6 ? "ipv6" : "ipv4");
  return (address) => isIP(address) === family && list.check(address, family === 6 ? "ipv6" : "ipv4");
}

/** `::` takes IPv4 as well on most systems, so IPv4 comes first there too; link-local addresses need a zone to be of use. */
function ownAddress(interfaces: Interfaces, allowIpv6: boolean): string | undefined {
  const external = Object.values(interfaces).flatMap((addresses) =>
    (addresses ?? []).filter(({ internal }) => !internal),
  );
  const ipv4 = external.find(({ family }) => family === "IPv4");
  const ipv6 = external.find(({ family, address }) => family === "IPv6" && !address.toLowerCase().startsWith("fe80:"));
  return ipv4?.address ?? (allowIpv6 ? ipv6?.address : undefined);
}
