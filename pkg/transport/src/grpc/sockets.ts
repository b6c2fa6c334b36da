import { Server, type Socket } from "node:net";
import type { ConnectionInjector } from "@grpc/grpc-js";

/** Takes connections for the gRPC library, and knows them all. */
export class Sockets {
  readonly listener: Server;
  readonly #open = new Set<Socket>();

  constructor(injector: ConnectionInjector) {
    this.listener = new Server({ noDelay: true }, (socket) => {
      this.#open.add(socket);
      socket.once("close", () => this.#open.delete(socket));
      injector.injectConnection(socket);
    });
  }

  /** Takes no new ones; `done` is called when the last has closed. */
  close(done: () => void): void {
    this.listener.close(done);
  }

  destroy(): void {
    for (const socket of this.#open) socket.destroy();
  }
}
