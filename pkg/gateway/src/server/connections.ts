import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Exchange } from "./exchange.ts";

/** The open connections of clients, and what is under way on each. */
export class Connections {
  /** With the bytes that each had sent before its first request, as those of a handshake. */
  readonly #open = new Map<Socket, number>();
  readonly #belowTls = new Set<Socket>();
  readonly #latest = new WeakMap<Duplex, Exchange>();

  /** Those of HTTP/1, and of WebSockets. */
  get sockets(): Iterable<Socket> {
    return this.#open.keys();
  }

  opened(socket: Socket): void {
    this.#open.set(socket, socket.bytesRead);
    socket.once("close", () => this.#open.delete(socket));
  }

  /** One that TLS is spoken on: its handshake has the time of a handshake, and what comes after it is opened by itself. */
  belowTls(socket: Socket): void {
    this.#belowTls.add(socket);
    socket.once("close", () => this.#belowTls.delete(socket));
  }

  began(exchange: Exchange): void {
    this.#latest.set(exchange.request.socket, exchange);
  }

  /** The newest exchange of a connection, if it is not over. */
  current(socket: Duplex): Exchange | undefined {
    const exchange = this.#latest.get(socket);
    return exchange?.isFinished === false ? exchange : undefined;
  }

  /** Whether the connection ends with a reply that is given already. */
  isEnding(socket: Duplex): boolean {
    return this.#latest.get(socket)?.isLast === true;
  }

  /**
   * Closes the connections on which nothing is under way.
   * @param andFresh - Those too on which no byte has come yet, whose first request may be on its way.
   */
  endIdle(andFresh: boolean): void {
    for (const [socket, before] of this.#open) {
      if (!this.current(socket) && (andFresh || socket.bytesRead > before)) socket.destroy();
    }
  }

  /** Breaks off everything. */
  destroy(): void {
    for (const socket of [...this.#open.keys(), ...this.#belowTls]) socket.destroy();
  }
}
