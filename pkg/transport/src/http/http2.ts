import { constants, createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Clock, Metrics } from "@plinth/kernel";
import { afterDrainGrace, drainGraceMs } from "./drain-grace.ts";
import type { HttpFailure } from "./errors.ts";
import { isServedRequest, isServedResponse, type ServedRequest, type ServedResponse } from "./exchange.ts";
import { guardEvents } from "./guard-events.ts";
import {
  Http2Request,
  Http2Response,
  endConnection,
  type Http2Connection,
  http2Connections,
  stopUpload,
} from "./http2-exchange.ts";
import { headLimitsOf } from "./head.ts";
import { refusalOfHttp2 } from "./http2-head.ts";
import { Http2Limits } from "./http2-limits.ts";
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

/** HTTP/2 on connections that something else accepts. All limits of one connection are here and in {@link Http2Limits}. */
export class Http2 {
  readonly #server: Http2Server;
  readonly #options: Http2Options;
  readonly #limits: Http2Limits;
  readonly #connections = new Map<Socket, Http2Connection>();
  #isDraining = false;
  #accepted: Socket | undefined;

  constructor(options: Http2Options) {
    const { settings, layers, metrics } = options;
    this.#options = options;
    this.#limits = new Http2Limits(options);
    const head = headLimitsOf(settings);
    this.#server = createServer({
      Http2ServerRequest: Http2Request,
      Http2ServerResponse: Http2Response,
      settings: {
        maxConcurrentStreams: settings.maxConcurrentStreams,
        maxHeaderListSize: settings.maxHeaderBytes,
        enableConnectProtocol: false,
        enablePush: false,
      },
      maxHeaderListPairs: settings.maxHeaderLines + 28, // the pseudo-headers, and some to be refused by us
      maxSessionMemory: 10,
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      maxOutstandingPings: 10,
      maxSettings: 32,
      maxDeflateDynamicTableSize: 4_096,
      strictFieldWhitespaceValidation: true,
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
    this.#server.on("session", (session) => this.#begin(session));
    metrics.gauge({
      name: "http_server_http2_connections",
      help: "HTTP/2 connections that are open.",
      collect: (gauge) => gauge.set({}, this.#connections.size),
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
    return this.#connections.has(socket);
  }

  /**
   * The next reply on each connection takes a GOAWAY with it, ahead of its end: who asks one thing at a time has it before it asks
   * again. Who asks more at once may have sent what is refused for it, and finds that new connections are served; those stay until
   * the drain, since callers send again what was refused once, and not what is refused time and again.
   */
  announceDrain(): void {
    for (const connection of this.#connections.values()) connection.isLeaving = true;
  }

  /**
   * Tells every caller by GOAWAY to send its next requests elsewhere, and closes each connection when its last stream has
   * ended. What is on its way by then is not served, and its caller can tell: its number is above the one in the GOAWAY, so
   * that it is safe to send it again. Node has no GOAWAY that still takes them (RFC 9113, 6.8). Connections that are idle since
   * a moment ago have a moment for one more request, whose reply takes the GOAWAY with it. Those that begin about now are told
   * a moment later, as what comes on them may have been refused on another: it may be sent again once (RFC 9113, 8.7).
   */
  drain(): void {
    this.#isDraining = true;
    const agoMs = this.#options.clock.monotonicMs() - drainGraceMs;
    for (const connection of this.#connections.values())
      if (connection.beganMs > agoMs) this.#leaveSoon(connection);
      else this.#leave(connection, agoMs);
  }

  #leaveSoon(connection: Http2Connection): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#after(connection, () => this.#leave(connection, nowMs));
  }

  /** @param agoMs - What is idle since then or longer has had its moment. */
  #leave(connection: Http2Connection, agoMs: number): void {
    if (connection.open > 0 || connection.idleSinceMs <= agoMs) {
      endConnection(connection);
      return;
    }
    connection.isLeaving = true;
    this.#after(connection, () => endConnection(connection));
  }

  #after({ session }: Http2Connection, task: () => void): void {
    const grace = afterDrainGrace(this.#options.clock, task);
    session.once("close", () => grace.cancel());
  }

  #begin(session: ServerHttp2Session): void {
    const { settings, clock } = this.#options;
    const socket = this.#accepted;
    if (socket === undefined) return;
    this.#accepted = undefined;
    const beganMs = clock.monotonicMs();
    const connection: Http2Connection = {
      session,
      socket,
      beganMs,
      open: 0,
      idleSinceMs: beganMs,
      isLeaving: false,
    };
    http2Connections.set(session, connection);
    this.#connections.set(socket, connection);
    socket.once("close", () => this.#connections.delete(socket));
    this.#limits.watch(session);
    session.setTimeout(settings.headersTimeoutMs, () => {
      if (connection.open === 0) session.close();
    });
    session.on("stream", (stream) => {
      connection.open++;
      stream.once("close", () => {
        if (--connection.open > 0 || session.destroyed) return;
        connection.idleSinceMs = clock.monotonicMs();
        session.setTimeout(settings.keepAliveTimeoutMs);
      });
    });
    if (this.#isDraining) this.#leaveSoon(connection);
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
    if (settings.idleTimeoutMs > 0) cutWhenStalled(stream, settings.idleTimeoutMs);
  }
}

/** Resets a stream on which bytes of the reply wait and none has gone out for so long: the caller holds its window shut. */
function cutWhenStalled(stream: ServerHttp2Stream, idleTimeoutMs: number): void {
  stream.setTimeout(idleTimeoutMs);
  stream.on("timeout", () => {
    if (stream.writableLength > 0) stream.close(constants.NGHTTP2_CANCEL);
    else stream.setTimeout(idleTimeoutMs);
  });
}
