import { createServer, type Http2Server } from "node:http2";
import type { Socket } from "node:net";
import type { Clock, Metrics } from "@plinth/kernel";
import type { FloodKind } from "../flood-budget.ts";
import type { HttpFailure } from "./errors.ts";
import { isServedRequest, isServedResponse, type ServedRequest, type ServedResponse } from "./exchange.ts";
import { guardEvents } from "./guard-events.ts";
import { Http2Request, Http2Response } from "./http2-exchange.ts";
import { headLimitsOf } from "./head.ts";
import { refusalOfHttp2 } from "./http2-head.ts";
import { http2ServerOptions, Http2Sessions, stopUpload } from "./http2-sessions.ts";
import type { HttpSettings } from "./settings.ts";

/** The layers around a request, which are the same on both wires. */
export interface Http2Layers {
  readonly onRequest: (request: ServedRequest, response: ServedResponse) => void;
  /** Called with a head that no route is to see. */
  readonly onRefused: (request: ServedRequest, response: ServedResponse, failure: HttpFailure) => void;
  /** The body has not arrived within `requestTimeoutMs`. */
  readonly onSlow: (request: ServedRequest, response: ServedResponse) => void;
  readonly onExpectation: (request: ServedRequest, response: ServedResponse) => void;
  /** Called with what threw while a request was taken in, and nothing inside has caught. */
  readonly onThrown: (thrown: unknown, request: ServedRequest, response: ServedResponse) => void;
}

export interface Http2Options {
  readonly settings: HttpSettings;
  readonly layers: Http2Layers;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/** HTTP/2 on connections that something else accepts. All limits of one connection are here and in {@link Http2Sessions}. */
export class Http2 {
  readonly #server: Http2Server;
  readonly #options: Http2Options;
  readonly #sessions: Http2Sessions;
  #accepted: Socket | undefined;

  constructor(options: Http2Options) {
    const { settings, layers, clock, metrics } = options;
    this.#options = options;
    const calmed = metrics.counter({
      name: "http_server_http2_floods_total",
      help: "HTTP/2 connections ended because they reset streams, or sent PING or SETTINGS, too often.",
      labels: ["kind"],
    });
    const { headersTimeoutMs, keepAliveTimeoutMs } = settings;
    const onFlood = (kind: FloodKind): void => calmed.inc({ kind });
    const { idleTimeoutMs } = settings;
    const sessions = new Http2Sessions({ headersTimeoutMs, keepAliveTimeoutMs, idleTimeoutMs, clock, onFlood });
    this.#sessions = sessions;
    const head = headLimitsOf(settings);
    this.#server = createServer({
      Http2ServerRequest: Http2Request,
      Http2ServerResponse: Http2Response,
      ...http2ServerOptions(settings),
    });
    const toLayers =
      (layer: (request: ServedRequest, response: ServedResponse) => void) =>
      (...[request, response]: readonly unknown[]): void => {
        if (isServedRequest(request) && isServedResponse(response)) layer(request, response);
      };
    guardEvents(this.#server, (thrown, args) =>
      toLayers((request, response) => layers.onThrown(thrown, request, response))(...args),
    );
    const onRequest = toLayers((request, response) => layers.onRequest(request, response));
    const take = (
      request: Http2Request,
      response: Http2Response,
      next: (...args: readonly unknown[]) => void,
    ): void => {
      if (request.stream.destroyed) return; // it was reset with its head: nothing is begun for it
      this.#guardStream(request, response);
      const failure = refusalOfHttp2(request, head);
      if (failure === undefined) next(request, response);
      else toLayers((served, reply) => layers.onRefused(served, reply, failure))(request, response);
    };
    this.#server.on("request", (request: Http2Request, response: Http2Response) => take(request, response, onRequest));
    this.#server.on("connect", (request: Http2Request, response: Http2Response) => take(request, response, onRequest));
    this.#server.on("checkContinue", (request: Http2Request, response: Http2Response) =>
      take(request, response, () => {
        response.writeContinue();
        onRequest(request, response);
      }),
    );
    this.#server.on("checkExpectation", (request: Http2Request, response: Http2Response) =>
      take(request, response, toLayers(layers.onExpectation)),
    );
    this.#server.on("session", (session) => {
      if (this.#accepted) sessions.begin(session, this.#accepted);
      this.#accepted = undefined;
    });
    metrics.gauge({
      name: "http_server_http2_connections",
      help: "HTTP/2 connections that are open.",
      collect: (gauge) => gauge.set({}, sessions.size),
    });
  }

  /** Serves HTTP/2 on a connection, whose first bytes may have been put back. */
  accept(socket: Socket): void {
    socket.allowHalfOpen = false; // as HTTP/1 alone has use for it
    this.#accepted = socket;
    this.#server.emit("connection", socket);
  }

  /** Whether a connection is one of HTTP/2, which other rules end. */
  has(socket: Socket): boolean {
    return this.#sessions.has(socket);
  }

  /** As {@link Http2Sessions.announceDrain}. */
  announceDrain(): void {
    this.#sessions.announceDrain();
  }

  /** As {@link Http2Sessions.drain}. */
  drain(): void {
    this.#sessions.drain();
  }

  /** Ends what does not arrive, and what is not read. */
  #guardStream(request: Http2Request, response: Http2Response): void {
    const { settings, layers, clock } = this.#options;
    const { stream } = request;
    if (!stream.endAfterHeaders) {
      stream.once("finish", () => {
        if (!request.complete) stopUpload(stream);
      });
      const onSlow = (): void => {
        if (request.complete || !isServedRequest(request) || !isServedResponse(response)) return;
        layers.onSlow(request, response);
      };
      const timer = clock.schedule(settings.requestTimeoutMs, onSlow, { keepAlive: false });
      request.once("end", () => timer.cancel());
      stream.once("close", () => timer.cancel());
    }
  }
}
