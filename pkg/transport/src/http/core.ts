import type { Server } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import {
  type AppError,
  type Clock,
  type ErrorBus,
  type Logger,
  type Metrics,
  randomHex,
  type RequestScopes,
  type Tracing,
} from "@plinth/kernel";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Authenticator } from "../auth.ts";
import { peerOf } from "../client-address.ts";
import { type Budget, budgetOf, callerGone, safeRequestIdOf } from "../exchange.ts";
import { Deadlines } from "../deadlines.ts";
import type { LoopDelay } from "../loop-delay.ts";
import type { Middleware } from "../middleware.ts";
import type { OpsHandler } from "../ops/handler.ts";
import { Answers } from "./answers.ts";
import { badExpectation, type HttpFailure, tooSlow, toParserFailure } from "./errors.ts";
import { exchangeOf, HttpExchange, type ServedRequest, type ServedResponse } from "./exchange.ts";
import type { ExchangeOwner, ToldFailure } from "./exchange-owner.ts";
import { Faults } from "./faults.ts";
import { connectRefused, type HeadLimits, headLimitsOf, refusalOf } from "./head.ts";
import type { Http2Layers } from "./http2.ts";
import { openNodeServer } from "./node-server.ts";
import { InFlight } from "./in-flight.ts";
import { HttpObserver, methodLabel } from "./observe.ts";
import { Pipelines } from "./pipelines.ts";
import { type Edge, edgeOf, writeProblemTo } from "./raw-reply.ts";
import type { HttpSettings } from "./settings.ts";
import { callerIn } from "./server-span.ts";
import { Shedder } from "./shed.ts";
import { Onion } from "./stages.ts";

export interface RequestCoreOptions {
  readonly settings: HttpSettings;
  readonly log: Logger;
  readonly errors: ErrorBus;
  readonly metrics: Metrics;
  readonly tracing: Tracing;
  readonly clock: Clock;
  /** Where what lives for one request comes from. Absent: nothing does. */
  readonly scopes?: RequestScopes | undefined;
  /** Answers before everything else, unseen by metrics, traces and access log. Absent: it has a listener of its own. */
  readonly ops?: OpsHandler | undefined;
  /** How late the event loop runs. Absent: no request is refused for that. */
  readonly loopDelay?: LoopDelay | undefined;
  /** This instance: requests that name another are refused. Absent: none is. */
  readonly instanceId?: string | undefined;
  /** Who tells who asks. Absent: nobody is asked. */
  readonly authenticator?: Authenticator | undefined;
  /** Code of the user's around each request, each at its place among the layers. Default none. */
  readonly middlewares?: readonly Middleware[] | undefined;
}

type RawHandler = (request: ServedRequest, response: ServedResponse) => void;

/** What surrounds every request, whichever route it goes to: recovery, request id, trace, log context, metrics, deadline. */
export class RequestCore implements ExchangeOwner {
  readonly answers: Answers;
  readonly inFlight = new InFlight<HttpExchange>();
  isEnding = false;
  /** While true, each reply closes its connection. */
  draining = false;
  /** Called with the connection of each finished request. */
  onFinished: ((socket: Socket) => void) | undefined;
  readonly #options: RequestCoreOptions;
  readonly #observer: HttpObserver;
  readonly #faults: Faults;
  readonly #shedder: Shedder;
  readonly #budget: Budget;
  readonly #pipelines = new Pipelines();
  readonly #onion: Onion;
  readonly #deadlines: Deadlines;
  readonly #edge: Edge;
  readonly #head: HeadLimits;
  /** Requests that were answered before they had arrived, by their connection. */
  readonly #unread = new WeakMap<Socket, ServedRequest>();
  #handler: RawHandler = () => {};

  constructor(options: RequestCoreOptions) {
    this.#options = options;
    this.#edge = edgeOf(options.settings);
    this.#head = headLimitsOf(options.settings);
    this.#budget = { ms: options.settings.deadlineMs, isCallers: false };
    this.#faults = new Faults(options);
    this.answers = new Answers(this.#faults, this.#pipelines, this.#edge);
    this.#observer = new HttpObserver({
      metrics: options.metrics,
      log: options.log,
      settings: options.settings,
      onFault: (thrown, exchange) => this.#faults.report(thrown, exchange),
    });
    const active = (): number => this.inFlight.size;
    this.#shedder = new Shedder({ ...options, observer: this.#observer, edge: this.#edge, active });
    this.#deadlines = new Deadlines(options.clock);
    this.#onion = new Onion(options, this.answers, (exchange) => this.#shedOpen(exchange));
    options.metrics.gauge({
      name: "http_server_active_requests",
      help: "Requests being served.",
      collect: (gauge) => gauge.set({}, this.inFlight.size),
    });
    options.metrics.gauge({
      name: "http_server_active_web_sockets",
      help: "WebSockets that are open; they are among the active requests.",
      collect: (gauge) => gauge.set({}, [...this.inFlight].filter(({ closeCode }) => closeCode !== undefined).length),
    });
  }

  createServer(handler: RawHandler): Server {
    this.#handler = handler;
    const server = openNodeServer(this.#options.settings, {
      onRequest: (request, response) => this.#begin(request, response, handler),
      onThrown: (thrown, request, response) => this.answers.recover(thrown, request, response),
      errors: this.#options.errors,
      edge: this.#edge,
    });
    server.on("checkExpectation", (request, response) => {
      if (!this.#isRefused(request, response)) this.answers.answer(this.#open(request, response), badExpectation);
    });
    server.on("checkContinue", (request, response) => {
      if (this.#isRefused(request, response)) return; // without a word that would have its body sent
      response.writeContinue();
      server.emit("request", request, response);
    });
    server.on("connect", ({ socket }) => {
      if (server.listenerCount("connect") > 1) return;
      this.#observer.malformed();
      this.#answerRaw(socket, connectRefused);
    });
    return server;
  }

  /** What a server of HTTP/2 calls in front of the same routes. */
  get http2Layers(): Http2Layers {
    return {
      onRequest: (request, response) => this.#begin(request, response, this.#handler),
      onRefused: (request, response, failure) => {
        this.#observer.malformed();
        this.answers.answer(this.#open(request, response), failure);
      },
      onSlow: ({ exchange }) => {
        if (exchange === undefined || exchange.isOver) return;
        exchange.abort(tooSlow.error);
        this.answers.answer(exchange, tooSlow);
      },
      onExpectation: (request, response) => this.answers.answer(this.#open(request, response), badExpectation),
      onThrown: (thrown, request, response) => this.answers.recover(thrown, request, response),
    };
  }

  #begin(request: ServedRequest, response: ServedResponse, handler: RawHandler): void {
    if (this.draining) response.shouldKeepAlive = false;
    if (this.#isRefused(request, response)) return;
    if (response.socket === null && this.#isFlood(request, response)) return; // another's reply is ahead of its own
    if (this.#options.ops?.(request, response)) return;
    if (this.#onion.shedsFirst && this.#shedder.shed(request, response)) return;
    const exchange = this.#open(request, response);
    this.#onion.enter(exchange, () => handler(request, response));
  }

  #shedOpen(exchange: HttpExchange): true | undefined {
    if (!this.#shedder.shed(exchange.request, exchange.response, this.inFlight.size - 1)) return undefined;
    exchange.heldAt = -1; // it is counted as shed
    return true;
  }

  #isRefused(request: ServedRequest, response: ServedResponse): boolean {
    const refusal = refusalOf(request, this.#head);
    if (refusal === undefined) return false;
    this.#observer.malformed();
    this.answers.answer(this.#open(request, response), refusal);
    return true;
  }

  #isFlood(request: ServedRequest, response: ServedResponse): boolean {
    return this.#pipelines.isTooMuch(request.socket, response, (failure) =>
      this.answers.answer(this.#open(request, response), failure),
    );
  }

  #open(request: ServedRequest, response: ServedResponse): HttpExchange {
    const { tracing, clock, scopes } = this.#options;
    const { headers } = request;
    const { traceparent } = headers;
    const isTrusted = this.#edge.trust.isTrustedPeer(peerOf(request.socket));
    const method = methodLabel(request.method);
    const span = tracing.startSpan(method, {
      kind: "server",
      parent: typeof traceparent === "string" ? callerIn(headers, traceparent, isTrusted) : null,
    });
    const exchange = new HttpExchange({
      request,
      response,
      method,
      isPeerTrusted: isTrusted,
      requestId: (isTrusted ? safeRequestIdOf(headers["x-request-id"]) : undefined) ?? randomHex(16),
      span,
      clock,
      scopes,
      budget: budgetOf(headers["plinth-timeout-ms"] ?? headers["connect-timeout-ms"], this.#budget),
      deadlines: this.#deadlines,
      owner: this,
    });
    this.inFlight.add(exchange);
    if (request.httpVersionMajor === 2) {
      response.on("close", () => exchange.closed());
      response.on("error", (error) => exchange.replyFailed(error));
    }
    return exchange;
  }

  replyFailed(exchange: HttpExchange, error: unknown): void {
    this.#faults.report(error, exchange);
  }

  failed(exchange: HttpExchange, thrown: unknown): void {
    this.answers.failed(exchange, thrown);
  }

  failedAround(thrown: unknown, exchange: HttpExchange): void {
    this.answers.failedAround(thrown, exchange);
  }

  expired(exchange: HttpExchange, error: AppError): void {
    this.answers.expired(exchange, error);
  }

  failedInside(exchange: HttpExchange, thrown: unknown): ToldFailure {
    return this.answers.failedInside(exchange, thrown);
  }

  closed(exchange: HttpExchange): void {
    const { response, request } = exchange;
    this.inFlight.delete(exchange);
    if (!response.writableFinished && exchange.error === undefined && exchange.closeCode === undefined) {
      if (response.errored) this.answers.breakOff(response.errored, exchange);
      else exchange.error = callerGone();
    }
    if (!response.writableFinished) exchange.abort(exchange.error ?? callerGone());
    exchange.end((thrown) => this.#faults.report(thrown, exchange));
    if (!request.complete) this.#unread.set(request.socket, request);
    const tookMs = this.#options.clock.monotonicMs() - exchange.startedAtMs;
    this.#observer.finished(exchange, tookMs, this.#onion.reachedBy(exchange));
    this.onFinished?.(request.socket);
  }

  /** No timer is left. */
  close(): void {
    this.#deadlines.close();
  }

  /** Ends what has no end of its own, now and from now on. */
  endStreams(): void {
    this.isEnding = true;
    for (const { onDrain } of this.inFlight) onDrain?.();
  }

  /** The router has found the route, or that there is none. */
  routed(request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw);
    if (!exchange) return; // injected by a test, past the server
    const { url, config } = request.routeOptions;
    exchange.route = url ?? "unmatched";
    if (config?.origin !== undefined) exchange.origin = config.origin;
    if (config?.hasEndMessage === true) exchange.hasEndMessage = true;
    exchange.reply = reply;
    const { replyHeaders } = exchange;
    for (const name in replyHeaders) reply.header(name, replyHeaders[name]);
    reply.header("x-request-id", exchange.requestId);
  }

  /** Runs what stands inside of `route`, then `done`. */
  enterRoute(request: FastifyRequest, done: (error?: Error) => void): void {
    const exchange = this.#onion.isInnerEmpty ? undefined : exchangeOf(request.raw);
    if (exchange) this.#onion.routed(exchange, done);
    else done();
  }

  /** The parser refuses what came on this connection, or it came too slowly. */
  refuseConnection(thrown: Error & { readonly code?: unknown }, socket: Duplex): void {
    if (thrown.code === "ECONNRESET" || thrown.code === "EPIPE" || !(socket instanceof Socket) || !socket.writable) {
      socket.destroy();
      return;
    }
    const ours = [...this.inFlight].filter(({ request }) => request.socket === socket);
    const current = ours.find(({ request }) => !request.complete);
    const isAnswered = current?.response.writableEnded ?? this.#unread.get(socket)?.complete === false;
    if (isAnswered) {
      socket.destroySoon(); // it is the rest of a request whose answer is on the way
      return;
    }
    this.#observer.malformed();
    const failure = toParserFailure(thrown);
    if (current) {
      current.abort(failure.error);
      this.answers.answer(current, failure);
    } else if (ours.length > 0) {
      // It stands behind a request that is whole: the reply to that is the connection's last one.
      for (const { response } of ours) response.shouldKeepAlive = false;
    } else this.#answerRaw(socket, failure);
  }

  /** Answers what is no request. */
  #answerRaw(socket: Socket, failure: HttpFailure): void {
    const span = this.#options.tracing.startSpan("_OTHER", { kind: "server", parent: null });
    span.end();
    writeProblemTo(socket, failure, { requestId: randomHex(16), traceId: span.traceId, headers: this.#edge.headers });
  }
}
