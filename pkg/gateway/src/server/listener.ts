import { createServer, type IncomingMessage, type Server } from "node:http";
import { Socket } from "node:net";
import { guardEvents } from "@plinth/transport";
import { asksForWebSocket, ClientUpgrade } from "../protocols/client-upgrade.ts";
import { ClientTurns } from "./client-turns.ts";
import type { Connections } from "./connections.ts";
import type { GatewayCore } from "./core.ts";
import { Exchange } from "./exchange.ts";
import { GatewayResponse } from "./http1-response.ts";
import { answerSocket, reasonOfParserError } from "./malformed.ts";
import { recover } from "./recover.ts";

export interface ListenerOptions {
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly maxHeaderBytes: number;
  readonly maxHeaderLines: number;
}

const methodsAllowed = "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/** The HTTP/1.1 server that faces the clients; each request becomes an {@link Exchange}. */
export function createListener(
  core: GatewayCore,
  connections: Connections,
  options: ListenerOptions,
): Server<typeof IncomingMessage, typeof GatewayResponse> {
  const turns = new ClientTurns(connections);
  const begin = (
    request: IncomingMessage,
    response: GatewayResponse,
    expects: "nothing" | "continue" | "odd",
  ): void => {
    if (connections.isEnding(request.socket)) {
      request.resume(); // sent behind the last request that this connection takes, perhaps as part of its body
      return;
    }
    turns.take(request, () => {
      try {
        const exchange = new Exchange(core, request, response, expects === "continue");
        connections.began(exchange);
        if (expects === "odd") exchange.refuse("expectation_failed");
        else exchange.begin();
      } catch (error) {
        recover(core, connections, error, [request, response]);
      }
    });
  };
  const server = createServer(
    {
      ServerResponse: GatewayResponse,
      headersTimeout: options.headersTimeoutMs,
      requestTimeout: options.requestTimeoutMs,
      keepAliveTimeout: options.keepAliveTimeoutMs,
      maxHeaderSize: options.maxHeaderBytes,
      connectionsCheckingInterval: 1_000,
      requireHostHeader: false, // checked with the rest of the head, so that it gets the same kind of reply
      insecureHTTPParser: false,
      shouldUpgradeCallback: (request) => asksForWebSocket(request) && !connections.current(request.socket),
    },
    (request, response) => begin(request, response, "nothing"),
  );
  guardEvents(server, (thrown, args) => recover(core, connections, thrown, args));
  // Node drops lines past this without a word: one more than allowed, so that too many can be told.
  server.maxHeadersCount = options.maxHeaderLines + 1;
  server.timeout = options.idleTimeoutMs;
  server.on("connection", (socket) => connections.opened(socket));
  server.on("checkContinue", (request, response) => begin(request, response, "continue"));
  server.on("checkExpectation", (request, response) => begin(request, response, "odd"));
  server.on("upgrade", (request, socket, head) => {
    if (!(socket instanceof Socket) || connections.isEnding(socket)) {
      socket.destroy();
      return;
    }
    socket.on("error", () => undefined); // node takes its own listener away; the end of the connection is told all the same
    const response = new GatewayResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    const exchange = new Exchange(core, request, response, false);
    connections.began(exchange);
    exchange.upgrade = new ClientUpgrade(exchange, { response, socket, head });
    exchange.begin();
  });
  server.on("connect", (_request, socket) => {
    core.observer.malformed("method_not_allowed");
    answerSocket(connections, socket, "method_not_allowed", { headers: [methodsAllowed] });
  });
  server.on("clientError", (error: Error & { readonly code?: unknown }, socket) => {
    const reason = reasonOfParserError(error.code);
    const exchange = connections.current(socket);
    if (reason === "request_timeout" && exchange?.isStreaming === true && !exchange.request.complete) return;
    if (exchange) {
      exchange.breakOff(reason);
      return;
    }
    if (reason === undefined) {
      socket.destroy();
      return;
    }
    core.observer.malformed(reason);
    answerSocket(connections, socket, reason);
  });
  return server;
}
