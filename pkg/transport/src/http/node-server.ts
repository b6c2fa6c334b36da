import type { Server } from "node:http";
import type { Duplex } from "node:stream";
import { type ErrorBus, runInContext } from "@plinth/kernel";
import { createServer } from "../node-http.ts";
import { isServedRequest, isServedResponse, ServedRequest, ServedResponse } from "./exchange.ts";
import { guardEvents } from "./guard-events.ts";
import { type Edge, idsOf } from "./raw-reply.ts";
import type { HttpSettings } from "./settings.ts";
import { cutStalledReplies } from "./stalled-replies.ts";

export interface NodeServerOptions {
  readonly onRequest: (request: ServedRequest, response: ServedResponse) => void;
  /** Called with what threw while a request was taken in, and nothing inside has caught. */
  readonly onThrown: (thrown: unknown, request: ServedRequest, response: ServedResponse) => void;
  readonly errors: ErrorBus;
  readonly edge: Edge;
}

/** The server of `node:http` below fastify, with a recovery around all that listens to it. */
export function openNodeServer(
  settings: HttpSettings,
  { onRequest, onThrown, errors, edge }: NodeServerOptions,
): Server<typeof ServedRequest, typeof ServedResponse> {
  const { headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs, idleTimeoutMs } = settings;
  const server = createServer(
    {
      IncomingMessage: ServedRequest,
      ServerResponse: ServedResponse,
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: keepAliveTimeoutMs,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: settings.maxHeaderBytes,
      joinDuplicateHeaders: true, // node would keep the first of two host or authorization lines, as others keep the last
      requireHostHeader: false, // node would answer without a body; `refusalOf` looks at it
    },
    onRequest,
  );
  cutStalledReplies(server, idleTimeoutMs);
  /** An upgrade, a broken request: there is only a connection, and it is not gone on with. */
  const onConnectionThrown = (thrown: unknown, args: readonly unknown[]): void => {
    const report = (): void => void errors.report(thrown, { origin: "request", attributes: { route: "unmatched" } });
    const request = args.find(isServedRequest);
    if (request) runInContext(idsOf(request, edge.trust), report);
    else report();
    args.find(isSocket)?.destroy();
  };
  guardEvents(server, (thrown, args) => {
    const [request, response] = args;
    if (isServedRequest(request) && isServedResponse(response)) onThrown(thrown, request, response);
    else onConnectionThrown(thrown, args);
  });
  server.on("connection", (socket) => {
    // Whoever takes a connection over and does not listen would let its failure end the process.
    socket.on("error", (error: Error & { readonly code?: string }) => {
      if (socket.listenerCount("error") > 1 || callerLeft.has(error.code ?? "")) return;
      errors.report(error, { origin: "stream", attributes: { route: "unmatched" } });
    });
  });
  return server;
}

const callerLeft: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT"]);

function isSocket(value: unknown): value is Duplex {
  return typeof value === "object" && value !== null && "destroy" in value && "writable" in value;
}
