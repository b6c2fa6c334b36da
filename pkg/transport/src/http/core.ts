import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import {
  type AppError,
  type Clock,
  currentContext,
  type ErrorBus,
  type Logger,
  type Metrics,
  parseTraceparent,
  randomHex,
  type RequestScopes,
  runInContext,
  type Tracing,
} from "@plinth/kernel";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type Budget, budgetOf, callerGone, safeRequestIdOf } from "../exchange.ts";
import { createServer } from "../node-http.ts";
import type { OpsHandler } from "../ops/handler.ts";
import { type Problem, problemContentType, toProblem } from "../problem.ts";
import { isIncident } from "../status.ts";
import {
  badExpectation,
  type HttpFailure,
  refusalOf,
  routeNotFound,
  toHttpFailure,
  toParserFailure,
} from "./errors.ts";
import { exchangeOf, HttpExchange, ServedRequest } from "./exchange.ts";
import { HttpObserver, methodLabel } from "./observe.ts";
import { ofTheReplyThatFailed, writeProblem, writeProblemTo } from "./raw-reply.ts";
import type { HttpSettings } from "./settings.ts";

/** An error reply in the form that a route's callers expect. */
export interface RenderedError {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** How errors of this route are written. Default: problem+json. */
    readonly renderError?: (error: AppError, problem: Problem) => RenderedError;
  }
}

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
}

type RawHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** What surrounds every request, whichever route it goes to: recovery, request id, trace, log context, metrics, deadline. */
export class RequestCore {
  readonly inFlight = new Set<HttpExchange>();
  /** While true, each reply closes its connection. */
  draining = false;
  /** Called with the connection of each finished request. */
  onFinished: ((socket: Socket) => void) | undefined;
  readonly #options: RequestCoreOptions;
  readonly #observer: HttpObserver;
  readonly #budget: Budget;
  /** Requests that were answered before they had arrived, by their connection. */
  readonly #unread = new WeakMap<Socket, ServedRequest>();
  readonly #onExpired = (exchange: HttpExchange, error: AppError): void =>
    runInContext(exchange, () => this.#expire(exchange, error));

  constructor(options: RequestCoreOptions) {
    this.#options = options;
    this.#budget = { ms: options.settings.deadlineMs, isCallers: false };
    this.#observer = new HttpObserver(
      options.metrics,
      options.settings.accessLog ? options.log.named("access") : undefined,
    );
    options.metrics.gauge({
      name: "http_server_active_requests",
      help: "Requests being served.",
      collect: (gauge) => gauge.set({}, this.inFlight.size),
    });
  }

  createServer(handler: RawHandler): Server {
    const { headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs } = this.#options.settings;
    const server = createServer(
      {
        IncomingMessage: ServedRequest,
        headersTimeout: headersTimeoutMs,
        requestTimeout: requestTimeoutMs,
        keepAliveTimeout: keepAliveTimeoutMs,
        connectionsCheckingInterval: 1_000,
        requireHostHeader: false, // node would answer without a body; `refusalOf` looks at it
      },
      (request, response) => this.#begin(request, response, handler),
    );
    server.on("checkExpectation", (request, response) => this.#answer(this.#open(request, response), badExpectation));
    return server;
  }

  #begin(request: ServedRequest, response: ServerResponse, handler: RawHandler): void {
    if (this.draining) response.shouldKeepAlive = false;
    const refusal = refusalOf(request);
    if (refusal) {
      this.#observer.malformed();
      this.#answer(this.#open(request, response), refusal);
      return;
    }
    if (this.#options.ops?.(request, response)) return;
    const exchange = this.#open(request, response);
    runInContext(exchange, () => handler(request, response));
  }

  #open(request: ServedRequest, response: ServerResponse): HttpExchange {
    const { tracing, clock, scopes } = this.#options;
    const { headers } = request;
    const { traceparent } = headers;
    const method = methodLabel(request.method);
    const span = tracing.startSpan(method, {
      kind: "server",
      parent: parseTraceparent(typeof traceparent === "string" ? traceparent : undefined) ?? null,
    });
    const exchange = new HttpExchange({
      request,
      response,
      method,
      requestId: safeRequestIdOf(headers["x-request-id"]) ?? randomHex(16),
      span,
      clock,
      scopes,
      budget: budgetOf(headers["plinth-timeout-ms"] ?? headers["connect-timeout-ms"], this.#budget),
      onExpired: this.#onExpired,
    });
    this.inFlight.add(exchange);
    response.on("close", () => this.#finish(exchange));
    // Such as a write after the end; unheard, it would end the process.
    response.on("error", (error) => runInContext(exchange, () => this.#report(error, exchange)));
    return exchange;
  }

  #finish(exchange: HttpExchange): void {
    const { response, request } = exchange;
    this.inFlight.delete(exchange);
    if (!response.writableFinished) {
      const gone = callerGone();
      exchange.error ??= gone;
      exchange.abort(gone);
    }
    exchange.end((error) => runInContext(exchange, () => this.#report(error, exchange)));
    if (!request.complete) this.#unread.set(request.socket, request);
    this.#observer.finished(exchange, this.#options.clock.monotonicMs() - exchange.startedAtMs);
    this.onFinished?.(request.socket);
  }

  /** The router has found the route, or that there is none. */
  routed(request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw);
    if (!exchange) return; // injected by a test, past the server
    exchange.route = request.routeOptions.url ?? "unmatched";
    exchange.reply = reply;
    reply.header("x-request-id", exchange.requestId);
  }

  /** The context of the request, should a hook have left it. */
  lostBy(request: FastifyRequest): HttpExchange | undefined {
    const exchange = exchangeOf(request.raw);
    return currentContext() === exchange ? undefined : exchange;
  }

  /** Answers with what the caller may know, and reports what is the server's fault. */
  fail(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw);
    const failure = this.#toFailure(thrown, request);
    if (this.#isLate(thrown, exchange, failure)) return;
    const problem = this.#record(thrown, failure, exchange);
    if (reply.raw.headersSent) {
      if (exchange) exchange.cut(failure.error);
      else reply.raw.destroy();
      return;
    }
    for (const name of ofTheReplyThatFailed) reply.removeHeader(name);
    if (exchange) reply.header("x-request-id", exchange.requestId);
    if (closing.has(problem.status)) reply.header("connection", "close");
    const render = request.routeOptions.config?.renderError ?? renderProblem;
    const { status, contentType, body } = render(failure.error, problem);
    void reply.code(status).type(contentType).serializer(String).send(body);
  }

  /** Answers when `fail` could not: a hook or a header of the route broke that reply too. */
  failAgain(thrown: unknown, request: FastifyRequest, { raw }: FastifyReply): void {
    const failure = toHttpFailure(thrown);
    const exchange = exchangeOf(request.raw);
    if (exchange) this.#answer(exchange, failure, thrown);
    else raw.destroy();
  }

  /** A reply's stream failed after part of it was sent: what has arrived must not look complete. */
  streamFailed(thrown: unknown, request: FastifyRequest): void {
    const exchange = exchangeOf(request.raw);
    if (!exchange || exchange.stopped || exchange.response.destroyed) return; // it failed for the caller has gone
    const failure = toHttpFailure(thrown);
    this.#record(thrown, failure, exchange);
    exchange.cut(failure.error);
  }

  /** A hook that runs after the reply failed. */
  failedAfterwards(thrown: unknown, request: FastifyRequest): void {
    const exchange = exchangeOf(request.raw);
    if (exchange) runInContext(exchange, () => this.#report(thrown, exchange));
  }

  /** The parser refuses what came on this connection, or it came too slowly. */
  refuse(thrown: Error & { readonly code?: unknown }, socket: Duplex): void {
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
      this.#answer(current, failure);
    } else if (ours.length > 0) {
      // It stands behind a request that is whole: the reply to that is the connection's last one.
      for (const { response } of ours) response.shouldKeepAlive = false;
    } else this.#answerRaw(socket, failure);
  }

  /** The deadline has passed: the handler's signal has been aborted, and what it still returns is dropped. */
  #expire(exchange: HttpExchange, error: AppError): void {
    const { reply, response } = exchange;
    if (response.writableEnded || reply?.sent) return; // being sent, or taken over by the handler
    try {
      if (reply) this.fail(error, reply.request, reply);
      else this.#answer(exchange, { error });
    } catch (thrown) {
      this.#answer(exchange, { error }, thrown); // a header of the route that cannot be sent
    }
  }

  #toFailure(thrown: unknown, request: FastifyRequest): HttpFailure {
    if (thrown instanceof Error && thrown === request.raw.errored) return { error: callerGone(thrown) }; // in its body
    const failure = toHttpFailure(thrown);
    // Where no route wants the body, what is wrong with it does not matter; a path that cannot be read never gets there.
    const isUnmatched = request.is404 && exchangeOf(request.raw)?.reply !== undefined;
    return isUnmatched && failure.httpStatus !== undefined ? { error: routeNotFound(request.method) } : failure;
  }

  /** True for what a handler throws after it was told to stop and its caller was answered. */
  #isLate(thrown: unknown, exchange: HttpExchange | undefined, { error }: HttpFailure): boolean {
    if (!exchange?.stopped || error === exchange.stopped) return false;
    if (!exchange.response.headersSent && !exchange.response.destroyed) return false;
    this.#options.log.debug("a handler failed after it had been told to stop", { error: thrown });
    return true;
  }

  #record(thrown: unknown, { error, httpStatus }: HttpFailure, exchange: HttpExchange | undefined): Problem {
    const problem = toProblem(error, { traceId: exchange?.span.traceId, httpStatus });
    if (exchange) exchange.error = error;
    // That a caller gave too little time is not the server's fault.
    const isCallers = error === exchange?.stopped && exchange.budget.isCallers;
    if (problem.status < 500 || !isIncident(error.status) || isCallers) return problem;
    if (exchange?.isReported) {
      this.#options.log.warn("a reply that told of a failure failed too", { error: thrown });
      return problem;
    }
    if (exchange) exchange.isReported = true;
    if (exchange) runInContext(exchange, () => this.#report(thrown, exchange));
    else this.#report(thrown, undefined);
    return problem;
  }

  #report(thrown: unknown, exchange: HttpExchange | undefined): void {
    const attributes = { route: exchange?.route ?? "unmatched" };
    this.#options.errors.report(thrown, { origin: "request", attributes });
  }

  /** Answers past fastify, with nothing that a route has set, and closes the connection. */
  #answer(exchange: HttpExchange, failure: HttpFailure, thrown: unknown = failure.error): void {
    this.#record(thrown, failure, exchange);
    if (exchange.response.headersSent) exchange.cut(failure.error);
    else writeProblem(exchange.response, failure, { requestId: exchange.requestId, traceId: exchange.span.traceId });
  }

  /** Answers what is no request. */
  #answerRaw(socket: Socket, failure: HttpFailure): void {
    const span = this.#options.tracing.startSpan("_OTHER", { kind: "server", parent: null });
    span.end();
    writeProblemTo(socket, failure, { requestId: randomHex(16), traceId: span.traceId });
  }
}

/** After these, what the caller still sends of its request is not read. */
const closing: ReadonlySet<number> = new Set([408, 413, 504]);

function renderProblem(_error: AppError, problem: Problem): RenderedError {
  return { status: problem.status, contentType: problemContentType, body: JSON.stringify(problem) };
}
