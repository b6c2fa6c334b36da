import { constants, createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Metrics } from "@plinth/kernel";
import { type Http2Connection, http2ServerOptions, Http2Sessions } from "@plinth/transport";
import type { GatewaySettings } from "../options.ts";
import type { GatewayCore } from "./core.ts";
import { Exchange } from "./exchange.ts";
import { readHttp2Head } from "./http2-head.ts";
import { Http2Request } from "./http2-request.ts";
import { Http2Response } from "./http2-response.ts";

const methodsAllowed = ["allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"];

export interface Http2Options {
  readonly settings: GatewaySettings;
  readonly metrics: Metrics;
}

/** HTTP/2 on connections of clients that something else accepts; each request becomes an {@link Exchange}. */
export class Http2 {
  readonly #core: GatewayCore;
  readonly #settings: GatewaySettings;
  readonly #server: Http2Server;
  readonly #sessions: Http2Sessions;
  #accepted: Socket | undefined;

  constructor(core: GatewayCore, { settings, metrics }: Http2Options) {
    this.#core = core;
    this.#settings = settings;
    const floods = metrics.counter({
      name: "gateway_http2_floods_total",
      help: "HTTP/2 connections of clients that were ended because they reset streams, or sent PING or SETTINGS, too often.",
      labels: ["kind"],
    });
    const { headersTimeoutMs, keepAliveTimeoutMs, idleTimeoutMs, maxHeaderBytes, maxHeaderLines } = settings;
    this.#sessions = new Http2Sessions({
      headersTimeoutMs,
      keepAliveTimeoutMs,
      idleTimeoutMs,
      clock: core.clock,
      onFlood: (kind) => floods.inc({ kind }),
    });
    metrics.gauge({
      name: "gateway_http2_connections",
      help: "HTTP/2 connections of clients that are open.",
      collect: (gauge) => gauge.set({}, this.#sessions.size),
    });
    const { maxConcurrentStreams } = settings.http2;
    this.#server = createServer({
      ...http2ServerOptions({ maxConcurrentStreams, maxHeaderBytes, maxHeaderLines }),
      strictSingleValueFields: false, // what a service says twice is said twice
    });
    this.#server.on("session", (session) => this.#begin(session));
    this.#server.on("sessionError", (error: Error & { readonly code?: unknown }) => {
      if (String(error.code).startsWith("ERR_")) core.observer.malformed("malformed_request");
    });
  }

  /** Serves HTTP/2 on a connection, whose first bytes may have been put back. */
  accept(socket: Socket): void {
    socket.allowHalfOpen = false; // as HTTP/1 alone has use for it
    this.#accepted = socket;
    this.#server.emit("connection", socket);
  }

  announceDrain(): void {
    this.#sessions.announceDrain();
  }

  drain(): void {
    this.#sessions.drain();
  }

  /** Breaks every connection off. */
  cut(): void {
    this.#sessions.cut();
  }

  #begin(session: ServerHttp2Session): void {
    const socket = this.#accepted;
    this.#accepted = undefined;
    if (!socket) return;
    const connection = this.#sessions.begin(session, socket);
    session.on("stream", (stream: ServerHttp2Stream, _headers: unknown, _flags: unknown, fields: readonly string[]) =>
      this.#take(connection, stream, fields),
    );
  }

  #take(connection: Http2Connection, stream: ServerHttp2Stream, fields: readonly string[]): void {
    stream.on("error", () => undefined); // what the client did to it, of which its end tells; unheard, it would end the process
    if (stream.destroyed || stream.closed) return; // reset with its head: nothing is begun for it
    let exchange: Exchange | undefined;
    try {
      const { requestTimeoutMs } = this.#settings;
      const core = this.#core;
      const hasBody = !stream.endAfterHeaders;
      const head = readHttp2Head(fields, hasBody, this.#settings);
      const request = new Http2Request(stream, connection.socket, head);
      const response = new Http2Response(stream, connection);
      exchange = new Exchange(core, request, response, head.expects === "100-continue");
      if (hasBody) {
        request.exchange = exchange;
        core.deadlines.list(requestTimeoutMs).add(request, exchange.startedAtMs);
      }
      if (head.refusal) {
        const { reason, detail } = head.refusal;
        exchange.refuse(reason, detail, reason === "method_not_allowed" ? methodsAllowed : []);
      } else if (head.expects !== undefined && !exchange.expectsContinue) exchange.refuse("expectation_failed");
      else exchange.begin();
    } catch (error) {
      if (exchange) exchange.fault(error);
      else {
        this.#core.errors.report(error, { origin: "request", attributes: { route: "unmatched" } });
        stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      }
    }
  }
}
