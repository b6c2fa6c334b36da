import { ClientAddresses, createPeerTrust, peerOf, type PeerTrust } from "@plinth/transport";
import { headerOf } from "../router/conditions.ts";
import type { ClientRequest } from "../server/client-message.ts";

/** What a trusted proxy says of the client of a request. */
export interface ProxiedOrigin {
  /** The client's address: what limits, lists and the access log go by. */
  readonly address: string;
  /** The scheme that the client used; undefined when the proxy does not tell. */
  readonly scheme: "http" | "https" | undefined;
  /** The host that the client asked for; undefined when the proxy does not tell. */
  readonly host: string | undefined;
  /** What services get as X-Forwarded-For: the list that came, and the proxy behind it. */
  readonly forwardedFor: string;
  /** The request's id, when it is a plain one. */
  readonly requestId: string | undefined;
}

export interface ProxyOptions {
  readonly trustedProxies: readonly string[];
  readonly forwardedBy: "x-forwarded-for" | "forwarded";
  readonly proxyHops?: number | undefined;
}

/** A longer list is not handed on: the client alone stands in its place. */
const maxListLength = 2_048;

/** Reads the forwarding headers of requests that come through trusted proxies. */
export class TrustedProxies {
  readonly #peers: PeerTrust;
  readonly #addresses: ClientAddresses;
  readonly #isStandard: boolean;

  constructor(options: ProxyOptions) {
    this.#peers = createPeerTrust(options.trustedProxies);
    this.#addresses = new ClientAddresses(options);
    this.#isStandard = options.forwardedBy === "forwarded";
  }

  /** @returns Undefined where the peer is not trusted: then it is the client, and what it says of others counts for nothing. */
  originOf({ socket, rawHeaders }: Pick<ClientRequest, "socket" | "rawHeaders">): ProxiedOrigin | undefined {
    const peer = peerOf(socket);
    if (!this.#peers.isTrustedPeer(peer)) return undefined;
    const header = (name: string): string | undefined => headerOf(rawHeaders, name);
    const origin = this.#addresses.originOf(peer, header);
    const list = this.#isStandard ? origin.address : header("x-forwarded-for")?.trim();
    const isUsable = list !== undefined && list !== "" && list.length <= maxListLength && /^[!-~ \t]*$/.test(list);
    const before = isUsable ? list : origin.address;
    const requestId = header("x-request-id");
    return {
      ...origin,
      forwardedFor: before === peer ? peer : `${before}, ${peer}`,
      requestId: requestId !== undefined && /^[A-Za-z0-9._-]{8,128}$/.test(requestId) ? requestId : undefined,
    };
  }
}
