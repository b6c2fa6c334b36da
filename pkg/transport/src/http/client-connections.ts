import { type Server, Socket } from "node:net";
import type { Metrics } from "@plinth/kernel";
import { z } from "zod";
import { createPeerTrust, networks, peerOf, plainAddress, unixPeer, unknownPeer } from "../client-address.ts";

/** Settings of a listener for connections of one client. */
export const clientConnectionSettings = {
  maxConnectionsPerClient: z.int().min(0).max(1_000_000).default(0).meta({
    description:
      "Connections open at once from one address, or from one /64 network of IPv6; further ones are closed at once, and counted. 0 for any number: many callers may share one address.",
  }),
  uncappedClients: networks.default(["loopback", unixPeer]).meta({
    description:
      "Clients that maxConnectionsPerClient leaves alone, besides the trusted proxies: addresses, CIDR ranges, `loopback`, `private`, `unix`.",
  }),
};

export interface ClientConnectionOptions {
  readonly settings: {
    readonly maxConnectionsPerClient: number;
    readonly uncappedClients: readonly string[];
    readonly trustedProxies: readonly string[];
  };
  readonly metrics: Metrics;
}

/**
 * Closes connections of clients that have as many as they may, before anything is spent on them, a handshake of TLS included. Who stands behind
 * a trusted proxy shares its connections, and is not counted: no header has come when a connection is accepted.
 */
export function capClientConnections(listener: Server, { settings, metrics }: ClientConnectionOptions): void {
  const { maxConnectionsPerClient: most, uncappedClients, trustedProxies } = settings;
  const dropped = metrics.counter({
    name: "http_server_client_connections_dropped_total",
    help: "Connections closed at once because their client had as many open as `maxConnectionsPerClient` allows.",
  });
  if (most === 0) return;
  const uncapped = createPeerTrust([...uncappedClients, ...trustedProxies]);
  const open = new Map<string, number>();
  const isTaken = (socket: Socket): boolean => {
    const peer = peerOf(socket);
    if (peer === unknownPeer || uncapped.isTrustedPeer(peer)) return true;
    const client = clientOf(peer);
    const count = open.get(client) ?? 0;
    if (count >= most) return false;
    open.set(client, count + 1);
    socket.once("close", () => {
      const left = (open.get(client) ?? 1) - 1;
      if (left > 0) open.set(client, left);
      else open.delete(client);
    });
    return true;
  };
  // ahead of all listeners: that of TLS would take a connection that is closed for a handshake that failed
  const emit = listener.emit.bind(listener);
  Reflect.set(listener, "emit", (event: string | symbol, ...args: unknown[]): boolean => {
    const [socket] = args;
    if (event !== "connection" || !(socket instanceof Socket) || isTaken(socket)) return emit(event, ...args);
    dropped.inc({});
    socket.destroy();
    return true;
  });
}

/** An address of IPv4; of IPv6 the network that one client has, in which it may take any address. RFC 6177. */
export function clientOf(address: string): string {
  const plain = plainAddress(address) ?? address;
  if (!plain.includes(":")) return plain;
  const [head = [], tail = []] = plain.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  return [...head, ...zeros, ...tail].slice(0, 4).join(":");
}
