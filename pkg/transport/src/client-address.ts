import { BlockList, isIP } from "node:net";
import { z } from "zod";
import { forwardedElements } from "./forwarded.ts";

/** Names for networks that are written often; anything else is an address or a CIDR range. */
const named: ReadonlyMap<string, readonly Range[]> = new Map([
  ["loopback", [ipv4("127.0.0.0", 8), ipv6("::1", 128)]],
  [
    "private",
    [
      ipv4("10.0.0.0", 8),
      ipv4("172.16.0.0", 12),
      ipv4("192.168.0.0", 16),
      ipv6("fc00::", 7),
      ipv4("169.254.0.0", 16),
      ipv6("fe80::", 10),
    ],
  ],
]);

interface Range {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

function ipv4(address: string, prefix: number): Range {
  return { address, prefix, family: "ipv4" };
}

function ipv6(address: string, prefix: number): Range {
  return { address, prefix, family: "ipv6" };
}

/** The peer of a Unix socket, which has no address. */
export const unixPeer = "unix";

/** An address that cannot be told: its connection has gone. Never trusted. */
export const unknownPeer = "unknown";

/** Whom to believe what they say of others. */
export interface PeerTrust {
  /**
   * @param address - Of a socket's other end, as node gives it, or {@link unixPeer}.
   * @returns False for whatever is no address.
   */
  isTrustedPeer(address: string): boolean;
}

/** Verdicts remembered; past that, all are forgotten. Peers are few, and callers that are many cost a look-up each. */
const maxVerdicts = 1_024;

/**
 * @param networks - Addresses, CIDR ranges, `loopback`, `private` (RFC 1918, RFC 4193 and link-local) or `unix` for Unix sockets. None: nobody.
 * @throws RangeError naming the entry that is none of these.
 */
export function createPeerTrust(networks: readonly string[]): PeerTrust {
  if (networks.length === 0) return nobody;
  const ranges = networks.filter((network) => network !== unixPeer).flatMap(rangesOf);
  const trustsUnix = networks.includes(unixPeer);
  const verdicts = new Map<string, boolean>();
  let list: BlockList | undefined; // made for the first peer that has an address: a start does without
  const judge = (given: string): boolean => {
    const address = plainAddress(given);
    list ??= listOf(ranges);
    return address !== undefined && list.check(address, isIP(address) === 4 ? "ipv4" : "ipv6");
  };
  return {
    isTrustedPeer(address) {
      const known = verdicts.get(address);
      if (known !== undefined) return known;
      const verdict = address === unixPeer ? trustsUnix : judge(address);
      if (verdicts.size >= maxVerdicts) verdicts.clear();
      verdicts.set(address, verdict);
      return verdict;
    },
  };
}

const nobody: PeerTrust = Object.freeze({ isTrustedPeer: () => false });

const networkProblem = "no address, CIDR range such as 10.0.0.0/8, `loopback`, `private` or `unix`";

function rangesOf(network: string): readonly Range[] {
  const range = named.get(network) ?? rangeOf(network);
  if (range === undefined) throw new RangeError(`${JSON.stringify(network)} is ${networkProblem}`);
  return "address" in range ? [range] : range;
}

function listOf(ranges: readonly Range[]): BlockList {
  const list = new BlockList();
  for (const { address, prefix, family } of ranges) list.addSubnet(address, prefix, family);
  return list;
}

function rangeOf(text: string): Range | undefined {
  const [address = "", prefix, ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0 || address.includes("%")) return undefined;
  const bits = family === 4 ? 32 : 128;
  if (prefix !== undefined && (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits)) return undefined;
  return (family === 4 ? ipv4 : ipv6)(address, Number(prefix ?? bits));
}

/** A list of networks in the config. */
export const networks = z.array(
  z.string().refine((text) => text === unixPeer || named.has(text) || rangeOf(text) !== undefined, {
    error: `expected an address, a CIDR range such as 10.0.0.0/8, \`loopback\`, \`private\` or \`unix\``,
  }),
);

/** Settings of a server about who stands before it. */
export const peerSettings = {
  trustedProxies: networks.default([]).meta({
    description:
      "Proxies whose forwarding headers tell the caller's address: addresses, CIDR ranges, `loopback`, `private`, `unix`. None: those headers are ignored.",
  }),
  forwardedBy: z.enum(["x-forwarded-for", "forwarded"]).default("x-forwarded-for").meta({
    description:
      "The header that the trusted proxies write: `x-forwarded-for` with x-forwarded-proto and -host, or `forwarded` (RFC 7239). The other one is ignored, since a caller may have sent it through them.",
  }),
  trustedPeers: networks.default(["loopback", "private", unixPeer]).meta({
    description:
      "Peers whose request id, trace and baggage are taken over. Others get an id and a trace of ours, with a link to theirs, and their baggage is left out. Set it to `[]` behind a load balancer that hands on what strangers send.",
  }),
};

/** What stands on the way from the caller, as {@link peerSettings} say. */
export interface ClientAddressOptions {
  readonly trustedProxies: readonly string[];
  readonly forwardedBy: "x-forwarded-for" | "forwarded";
  /**
   * How many proxies stand before it, 1 to 32: the caller is so many entries from the right, be they trusted or not, and the peer
   * where there are fewer. Default: entries are walked past as long as they are trusted.
   */
  readonly proxyHops?: number | undefined;
}

/** Where a request comes from. */
export interface Origin {
  /** Address of the caller without port and zone, IPv4 in its own form; {@link unixPeer} or {@link unknownPeer}. */
  readonly address: string;
  /** The scheme that the caller used, as far as a trusted proxy tells. */
  readonly scheme: "http" | "https" | undefined;
  /** The host that the caller asked for, as far as a trusted proxy tells. Not held to any list: check it before links are made of it. */
  readonly host: string | undefined;
}

/** Entries looked at from the right: more hops than any path has. */
const maxEntries = 32;

/**
 * Tells who the caller is, from the connection's peer and the forwarding headers of trusted proxies. They are read from the right:
 * each trusted one vouches for what is left of it, the first that is not trusted is the caller, and what stands left of that is hearsay.
 */
export class ClientAddresses {
  readonly #proxies: PeerTrust;
  readonly #isStandard: boolean;
  readonly #hops: number | undefined;

  /** @throws RangeError as {@link createPeerTrust}. */
  constructor({ trustedProxies, forwardedBy, proxyHops }: ClientAddressOptions) {
    this.#hops = proxyHops;
    this.#proxies = createPeerTrust(trustedProxies);
    this.#isStandard = forwardedBy === "forwarded";
  }

  /**
   * @param peer - The connection's other end, by {@link peerOf}.
   * @param header - Header or metadata by name in lower case; several lines joined by a comma.
   */
  originOf(peer: string, header: (name: string) => string | undefined): Origin {
    if (!this.#proxies.isTrustedPeer(peer)) return { address: peer, scheme: undefined, host: undefined };
    if (this.#hops !== undefined) return this.#byCount(peer, header, this.#hops);
    return this.#isStandard ? this.#byForwarded(peer, header) : this.#byXForwarded(peer, header);
  }

  #byCount(peer: string, header: (name: string) => string | undefined, hops: number): Origin {
    if (this.#isStandard) {
      const element = forwardedElements(header("forwarded") ?? "")?.at(-hops);
      return {
        address: nodeAddress(element?.get("for") ?? "") ?? peer,
        scheme: schemeOf(element?.get("proto")),
        host: hostOf(element?.get("host")),
      };
    }
    const entry = header("x-forwarded-for")?.split(",").at(-hops);
    return {
      address: nodeAddress(entry?.trim() ?? "") ?? peer,
      scheme: schemeOf(lastOf(header("x-forwarded-proto"))),
      host: hostOf(lastOf(header("x-forwarded-host"))),
    };
  }

  #byXForwarded(peer: string, header: (name: string) => string | undefined): Origin {
    const list = header("x-forwarded-for") ?? "";
    let address = peer;
    let end = list.length;
    for (let entries = 0; end > 0 && entries < maxEntries; entries++) {
      const comma = list.lastIndexOf(",", end - 1);
      const next = nodeAddress(list.slice(comma + 1, end).trim());
      if (next === undefined) break;
      address = next;
      if (!this.#proxies.isTrustedPeer(next)) break;
      end = comma;
    }
    return {
      address,
      scheme: schemeOf(lastOf(header("x-forwarded-proto"))),
      host: hostOf(lastOf(header("x-forwarded-host"))),
    };
  }

  #byForwarded(peer: string, header: (name: string) => string | undefined): Origin {
    const elements = forwardedElements(header("forwarded") ?? "") ?? [];
    const origin: { -readonly [K in keyof Origin]: Origin[K] } = { address: peer, scheme: undefined, host: undefined };
    for (const element of elements.slice(-maxEntries).toReversed()) {
      origin.scheme = schemeOf(element.get("proto")) ?? origin.scheme;
      origin.host = hostOf(element.get("host")) ?? origin.host;
      const next = nodeAddress(element.get("for") ?? "");
      if (next === undefined) break;
      origin.address = next;
      if (!this.#proxies.isTrustedPeer(next)) break;
    }
    return origin;
  }
}

/** The part of a socket that tells who is at its other end. */
export interface PeerSocket {
  readonly remoteAddress?: string | undefined;
  readonly localAddress?: string | undefined;
  readonly destroyed?: boolean;
}

/** Who is at the other end. A connection that the peer has reset has an address of our own end still: it is no Unix socket. */
export function peerOf(socket: PeerSocket | undefined): string {
  if (socket === undefined) return unknownPeer; // of a session of HTTP/2 that has ended
  const { remoteAddress } = socket;
  if (remoteAddress === undefined)
    return socket.destroyed === true || socket.localAddress !== undefined ? unknownPeer : unixPeer;
  if (!remoteAddress.includes(":")) return remoteAddress;
  return (remoteAddress.startsWith("::ffff:") ? remoteAddress.slice(7) : remoteAddress).replace(/%.*$/, "");
}

/** An address in its one shortest form, without zone, IPv4 out of its IPv6 form; undefined for whatever is none. */
export function plainAddress(text: string): string | undefined {
  const family = isIP(text);
  if (family === 4) return text;
  if (family === 0) return undefined;
  if (text.startsWith("::ffff:") && text.includes(".")) return text.slice(7).replace(/%.*$/, "");
  const address = new URL(`http://[${text.replace(/%.*$/, "")}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([\da-f]{1,4}):([\da-f]{1,4})$/.exec(address);
  if (!mapped) return address;
  const [high, low] = [Number.parseInt(mapped[1] ?? "", 16), Number.parseInt(mapped[2] ?? "", 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** An entry of the lists: an address, perhaps with a port, IPv6 perhaps in brackets. */
function nodeAddress(text: string): string | undefined {
  if (text.length > 64) return undefined;
  const bracketed = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text)?.[1];
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? plainAddress(bracketed) : undefined;
  return plainAddress(/^([\d.]+):\d{1,5}$/.exec(text)?.[1] ?? text);
}

function lastOf(list: string | undefined): string | undefined {
  return list?.slice(list.lastIndexOf(",") + 1).trim();
}

function schemeOf(text: string | undefined): Origin["scheme"] {
  const scheme = text?.toLowerCase();
  return scheme === "http" || scheme === "https" ? scheme : undefined;
}

function hostOf(text: string | undefined): string | undefined {
  return text !== undefined && /^(?:[\w.-]{1,255}|\[[\da-fA-F:.]{2,45}\])(?::\d{1,5})?$/.test(text) ? text : undefined;
}
