import type { Server as HttpServer } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import type { Clock } from "@plinth/kernel";
import { peek } from "@plinth/transport";
import type { Http2 } from "./http2.ts";

/** What listens without TLS where HTTP/2 is spoken too: it looks at the first bytes of each connection. */
export interface CleartextFront {
  readonly server: Server;
  /** Closes connections whose first bytes have not come yet. */
  endFresh(): void;
}

/** @param options.withinMs - In which a connection's first bytes must come. */
export function openCleartextFront(options: {
  readonly http1: HttpServer;
  readonly http2: Http2;
  readonly clock: Clock;
  readonly withinMs: number;
}): CleartextFront {
  const { http1, http2, clock, withinMs } = options;
  const fresh = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    fresh.add(socket);
    const gone = (): void => void fresh.delete(socket);
    socket.once("close", gone);
    peek(socket, { clock, withinMs }, (isHttp2) => {
      fresh.delete(socket);
      socket.off("close", gone);
      if (isHttp2) http2.accept(socket);
      else http1.emit("connection", socket);
    });
  });
  // HTTP/1 looks for connections that are too slow from when it listens.
  server.on("listening", () => http1.emit("listening"));
  const endFresh = (): void => {
    for (const socket of fresh) socket.destroy();
  };
  return { server, endFresh };
}
