import type { Server } from "node:http";
import { Socket } from "node:net";
import { type ErrorBus, randomHex } from "@plinth/kernel";
import type { TransportError } from "../errors.ts";
import { routeNotFound, toParserFailure } from "../http/errors.ts";
import { writeProblem, writeProblemTo } from "../http/raw-reply.ts";
import { cutStalledReplies } from "../http/stalled-replies.ts";
import { listen, type ListenOptions } from "../listen.ts";
import { createServer } from "../node-http.ts";
import { watchListeners } from "../watch-listeners.ts";
import { type OpsHandler, opsHeaders } from "./handler.ts";

export interface OpsServerOptions extends ListenOptions {
  readonly handler: OpsHandler;
  readonly errors: ErrorBus;
  /** Told once when it no longer listens though `close` was not called: `ERR_LISTEN_LOST`. Default: the error bus is told. */
  readonly onDied?: ((error: TransportError) => void) | undefined;
  /** How long a scraper may read nothing of what waits for it, in milliseconds; 0 never cuts one off. Default 60_000. */
  readonly idleTimeoutMs?: number;
}

/** A listener for the ops endpoints alone. */
export interface OpsServer {
  readonly port: number;
  /** Safe to call twice. */
  close(): Promise<void>;
}

/** @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`. */
export async function startOpsServer({
  handler,
  errors,
  onDied,
  idleTimeoutMs = 60_000,
  ...address
}: OpsServerOptions): Promise<OpsServer> {
  const server = createServer((request, response) => {
    if (handler(request, response)) return;
    writeProblem(response, { error: routeNotFound(request.method ?? "") }, ids());
  });
  server.on("clientError", (error: Error & { readonly code?: unknown }, socket) => {
    if (error.code === "ECONNRESET" || !(socket instanceof Socket) || !socket.writable) socket.destroy();
    else writeProblemTo(socket, toParserFailure(error), ids());
  });
  cutStalledReplies(server, idleTimeoutMs);
  const port = await listen(server, address);
  const unwatch = watchListeners([server], { what: "ops listener", host: address.host, port, errors, onDied });
  let closed: Promise<void> | undefined;
  return {
    port,
    close() {
      unwatch();
      return (closed ??= close(server));
    },
  };
}

const ids = () => ({ requestId: randomHex(16), headers: opsHeaders });

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve()); // its one error is that the listener had died
    server.closeAllConnections(); // a scrape under way is the only thing to lose
  });
}
