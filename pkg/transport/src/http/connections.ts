import type { Server as HttpServer } from "node:http";
import { Server, Socket } from "node:net";
import type { Clock } from "@plinth/kernel";

/** A connection that has not sent anything yet gets this long for its first request when the server drains. */
const unusedGraceMs = 500;

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

  /** @param listener - What accepts them: `http1` itself, or what stands in front of it. */
  constructor(listener: Server, http1: HttpServer) {
    this.#listener = listener;
    this.#http1 = http1;
    listener.on("connection", (socket: Socket) => this.#add(socket));
    listener.on("secureConnection", (socket: Socket) => {
      const below: unknown = Reflect.get(socket, "_parent");
      if (below instanceof Socket) this.#sockets.delete(below);
      this.#add(socket);
    });
  }

  #add(socket: Socket): void {
    this.#sockets.set(socket, socket.bytesRead);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  /**
   * Stops accepting and closes what is idle now. Connections that become idle later are to be handed to {@link release}.
   * @returns Resolves when the last connection is closed.
   */
  close({ isBusy, clock }: { readonly isBusy: (socket: Socket) => boolean; readonly clock: Clock }): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      Server.prototype.close.call(this.#listener, () => resolve());
    });
    const unused: Socket[] = [];
    const isUnused = (socket: Socket): boolean => socket.bytesRead === this.#sockets.get(socket);
    for (const socket of this.#sockets.keys()) {
      if (isBusy(socket)) continue;
      if (isUnused(socket)) unused.push(socket);
      else this.release(socket);
    }
    const cutUnused = (): void => {
      for (const socket of unused) if (isUnused(socket)) socket.destroy();
    };
    // Where the event loop runs late, a timer comes before what has arrived meanwhile is read.
    const onGraceOver = (): void => void setImmediate(cutUnused);
    const timer = clock.schedule(unusedGraceMs, onGraceOver, { keepAlive: false });
    return closed.finally(() => {
      timer.cancel();
      this.#http1.close(); // nothing is left to close but node's own check of the connections
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
