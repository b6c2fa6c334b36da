import { type Server, Socket } from "node:net";
import type { Clock, Logger, Metrics } from "@plinth/kernel";
import { createPeerTrust, peerOf } from "@plinth/transport";
import type { GatewaySettings } from "../options.ts";
import { addressKey, plainAddress } from "./route.ts";

export interface ConnectionCapsOptions {
  readonly settings: Pick<
    GatewaySettings,
    "maxConnections" | "maxConnectionsPerAddress" | "uncappedAddresses" | "trustedProxies" | "proxyProtocol"
  >;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger | undefined;
}

/** A flood of connections is told of once in this time, in milliseconds. */
const tellEveryMs = 10_000;

/**
 * Bounds the connections at the gateway's port: all, and those of one client. One too many is accepted and closed at once. Left in
 * the queue of the system it would wait for a reply that does not come, and a balancer in front would not go elsewhere; a reply in
 * words would cost what the bound is there to save, a handshake of TLS first of all.
 */
export class ConnectionCaps {
  readonly #options: ConnectionCapsOptions;
  readonly #uncapped;
  readonly #refusals;
  readonly #byAddress = new Map<string, number>();
  #open = 0;
  #toldMs = -Infinity;

  constructor(options: ConnectionCapsOptions) {
    this.#options = options;
    const { settings, metrics } = options;
    const { uncappedAddresses, trustedProxies, proxyProtocol } = settings;
    this.#uncapped = createPeerTrust([...uncappedAddresses, ...trustedProxies, ...(proxyProtocol?.from ?? [])]);
    this.#refusals = metrics.counter({
      name: "gateway_connections_refused_total",
      help: "Connections of clients closed at once: `total` as there are `maxConnections`, `address` as there are `maxConnectionsPerAddress` of theirs.",
      labels: ["reason"],
    });
    metrics.gauge({
      name: "gateway_connections",
      help: "Connections of clients that are open, at their TLS handshake too.",
      collect: (gauge) => gauge.set({}, this.#open),
    });
  }

  /** @param server - What listens. */
  bound(server: Server): void {
    server.maxConnections = this.#options.settings.maxConnections;
    // Where several processes share the port: else one that is full hands each connection on, and where all are, it goes round for ever.
    Reflect.set(server, "dropMaxConnection", true);
    server.on("drop", () => this.#refuse("total"));
    server.prependListener("connection", (socket: Socket) => {
      this.#open++;
      socket.once("close", () => this.#open--);
    });
  }

  /** @param server - What is told of connections whose client is known by their peer. */
  guard(server: Server): void {
    if (this.#options.settings.maxConnectionsPerAddress === 0) return;
    // Ahead of all listeners: that of TLS would take a connection that is closed for a handshake that failed.
    const emit = server.emit.bind(server);
    Reflect.set(server, "emit", (event: string | symbol, ...args: unknown[]): boolean => {
      const [socket] = args;
      if (event === "connection" && socket instanceof Socket && !this.admits(socket)) {
        socket.destroy();
        return true;
      }
      return emit(event, ...args);
    });
  }

  /**
   * Counts a connection for its client until it is closed.
   * @param address - Default: its peer's.
   * @returns False when there are enough of that client; it is to be destroyed then.
   */
  admits(socket: Socket, address = peerOf(socket)): boolean {
    const most = this.#options.settings.maxConnectionsPerAddress;
    if (most === 0 || address === "unknown" || this.#uncapped.isTrustedPeer(address)) return true;
    const key = addressKey(plainAddress(address));
    const count = this.#byAddress.get(key) ?? 0;
    if (count >= most) {
      this.#refuse("address", key);
      return false;
    }
    this.#byAddress.set(key, count + 1);
    socket.once("close", () => {
      const left = (this.#byAddress.get(key) ?? 1) - 1;
      if (left > 0) this.#byAddress.set(key, left);
      else this.#byAddress.delete(key);
    });
    return true;
  }

  #refuse(reason: "total" | "address", address?: string): void {
    this.#refusals.inc({ reason });
    const { clock, log } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#toldMs < tellEveryMs) return;
    this.#toldMs = nowMs;
    log?.warn("connections of clients are refused", {
      reason,
      open: this.#open,
      ...(address !== undefined && { address }),
    });
  }
}
