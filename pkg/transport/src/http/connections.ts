import type { Server as HttpServer } from "node:http";
import { Server, Socket } from "node:net";
import type { Clock, Scheduled } from "@plinth/kernel";
import { afterDrainGrace } from "./drain-grace.ts";

export interface ConnectionsOptions {
  /** What accepts them: `http1` itself, or what stands in front of it. */
  readonly listener: Server;
  readonly http1: HttpServer;
  /** Whether `listener` speaks TLS. */
  readonly isSecure: boolean;
}

export interface CloseOptions {
  /** Whether a connection is not to be closed yet. */
  readonly isBusy: (socket: Socket) => boolean;
  readonly clock: Clock;
}

/**
 * The open connections of an HTTP server, and how they end.
 *
 * node's own `close()` and `closeIdleConnections()` destroy a connection whose reply has ended but is still being sent,
 * which cuts the reply short; and they leave those alone that become idle later, which keeps the server open.
 */
export class Connections {
  readonly #listener: Server;
  readonly #http1: HttpServer;
  /** With the bytes that each had sent before it could send a request, as those of a handshake. */
  readonly #sockets = new Map<Socket, number>();
  /** Those of them whose TLS handshake is not over. */
  readonly #shaking = new Set<Socket>();
  #closing: CloseOptions | undefined;

  constructor({ listener, http1, isSecure }: ConnectionsOptions) {
    this.#listener = listener;
    this.#http1 = http1;
    listener.on("connection", (socket: Socket) => {
      if (isSecure) this.#shaking.add(socket);
      this.#add(socket);
    });
    listener.on("secureConnection", (socket: Socket) => {
      const below: unknown = Reflect.get(socket, "_parent");
      if (below instanceof Socket) this.#delete(below);
      this.#add(socket);
      if (this.#closing?.isBusy(socket) === false) this.#endUnused([socket], this.#closing.clock);
    });
  }

  #add(socket: Socket): void {
    this.#sockets.set(socket, socket.bytesRead);
    socket.once("close", () => this.#delete(socket));
  }

  #delete(socket: Socket): void {
    this.#sockets.delete(socket);
    this.#shaking.delete(socket);
  }

  #isUnused(socket: Socket): boolean {
    return socket.bytesRead === this.#sockets.get(socket);
  }

  /**
   * Stops accepting and closes what is idle now. A connection that has not sent anything yet has a moment for its first request;
   * one whose TLS handshake is under way has the time that a handshake has, and that moment after it. Connections that become
   * idle later are to be handed to {@link release}.
   * @returns Resolves when the last connection is closed.
   */
  close(options: CloseOptions): Promise<void> {
    this.#closing = options;
    const closed = new Promise<void>((resolve) => {
      Server.prototype.close.call(this.#listener, () => resolve());
    });
    const unused: Socket[] = [];
    for (const socket of this.#sockets.keys()) {
      if (options.isBusy(socket)) continue;
      if (this.#isUnused(socket)) unused.push(socket);
      else if (!this.#shaking.has(socket)) this.release(socket);
    }
    const grace = this.#endUnused(unused, options.clock);
    return closed.finally(() => {
      grace.cancel();
      this.#http1.close(); // nothing is left to close but node's own check of the connections
    });
  }

  #endUnused(sockets: readonly Socket[], clock: Clock): Scheduled {
    return afterDrainGrace(clock, () => {
      for (const socket of sockets) if (this.#isUnused(socket)) socket.destroy();
    });
  }

  /** Ends an idle connection. One that is being ended already goes its own way. */
  release(socket: Socket): void {
    if (!socket.writableEnded) socket.destroySoon();
  }

  /** Breaks every connection off, upgraded ones too. */
  cut(): void {
    for (const socket of this.#sockets.keys()) socket.destroy();
  }
}
