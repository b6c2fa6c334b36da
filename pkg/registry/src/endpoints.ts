import { isIP } from "node:net";
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

/**
 * The host that others reach this app at: the given one, else the one it listens on, else this machine's first address
 * that is not internal, else loopback.
 *
 * @throws {@link RegistryError} `ERR_REGISTRY_HOST` when the endpoints listen on different addresses.
 */
export function advertisedHost(
  all: readonly Endpoint[],
  given: string | undefined,
  interfaces: () => Interfaces = networkInterfaces,
): string {
  if (given !== undefined) return given;
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
  return ownAddress(interfaces(), onlyIpv6) ?? "127.0.0.1";
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
