import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Connections } from "./connections.ts";
import { GatewayResponse } from "./http1-response.ts";

/** With so many waiting on a connection no more is read from it. Fewer do not keep its end from being seen. */
const maxWaiting = 16;

interface Waiting {
  readonly request: IncomingMessage;
  readonly begin: () => void;
}

/**
 * Requests that a client of HTTP/1 sends ahead of the replies to those before them: node would begin all that come, however many. Here each
 * is begun when the one before is over, and what is parsed and waits is bounded by what one read holds, 64 KiB.
 */
export class ClientTurns {
  readonly #connections: Connections;
  readonly #queues = new WeakMap<Socket, Waiting[]>();

  constructor(connections: Connections) {
    this.#connections = connections;
  }

  /** Begins a request, now or when it is its turn, unless its connection ends before. */
  take(request: IncomingMessage, begin: () => void): void {
    const { socket } = request;
    const current = this.#connections.current(socket);
    if (current === undefined || !(current.response instanceof GatewayResponse)) {
      begin();
      return;
    }
    let queue = this.#queues.get(socket);
    if (queue === undefined) {
      const all = (queue = []);
      this.#queues.set(socket, all);
      // Whoever reads a body of a request resumes the whole connection.
      socket.on("resume", () => all.length >= maxWaiting && socket.pause());
    }
    queue.push({ request, begin });
    if (queue.length === maxWaiting) socket.pause();
    current.response.onOver = () => this.#next(socket, queue);
  }

  #next(socket: Socket, queue: Waiting[]): void {
    if (socket.destroyed || this.#connections.isEnding(socket)) {
      for (const { request } of queue.splice(0)) request.resume(); // sent behind the last one that this connection takes
      return;
    }
    const next = queue.shift();
    if (next === undefined) return;
    next.begin();
    const current = this.#connections.current(socket);
    if (current?.response instanceof GatewayResponse) current.response.onOver = () => this.#next(socket, queue);
    if (queue.length === maxWaiting - 1) socket.resume();
  }
}
