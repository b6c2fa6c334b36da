import type { Server } from "node:http";
import { Socket } from "node:net";
import { type ErrorBus, randomHex } from "@plinth/kernel";
import { routeNotFound, toParserFailure } from "../http/errors.ts";
import { writeProblem, writeProblemTo } from "../http/raw-reply.ts";
import { listen, type ListenOptions } from "../listen.ts";
import { createServer } from "../node-http.ts";
import type { OpsHandler } from "./handler.ts";

export interface OpsServerOptions extends ListenOptions {
  readonly handler: OpsHandler;
  readonly errors: ErrorBus;
}

/** A listener for the ops endpoints alone. */
export interface OpsServer {
  readonly port: number;
  /** Safe to call twice. */
  close(): Promise<void>;
}

/** @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`. */
export async function startOpsServer({ handler, errors, ...address }: OpsServerOptions): Promise<OpsServer> {
  const server = createServer((request, response) => {
    if (handler(request, response)) return;
    writeProblem(response, { error: routeNotFound(request.method ?? "") }, { requestId: randomHex(16) });
  });
  server.on("clientError", (error: Error & { readonly code?: unknown }, socket) => {
    if (error.code === "ECONNRESET" || !(socket instanceof Socket) || !socket.writable) socket.destroy();
    else writeProblemTo(socket, toParserFailure(error), { requestId: randomHex(16) });
  });
  const port = await listen(server, address);
  // Failing to accept, as for want of file descriptors, must not end the process.
  server.on("error", (error) => errors.report(error, { origin: "process" }));
  let closed: Promise<void> | undefined;
  return { port, close: () => (closed ??= close(server)) };
}

function close(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.close((error) => (error ? reject(error) : resolve()));
    server.closeAllConnections(); // a scrape under way is the only thing to lose
  });
}
