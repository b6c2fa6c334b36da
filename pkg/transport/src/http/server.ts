import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import {
  AppError,
  type Clock,
  currentContext,
  type ErrorBus,
  type Logger,
  type Metrics,
  parseTraceparent,
  randomHex,
  runInContext,
  type Tracing,
} from "@plinth/kernel";
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  type RawServerDefault,
} from "fastify";
import { TransportError } from "../errors.ts";
import { budgetOf, Exchange } from "../exchange.ts";
import { listen } from "../listen.ts";
import type { OpsHandler } from "../ops/handler.ts";
import { type Problem, problemContentType, toProblem } from "../problem.ts";
import { answerMalformed, toHttpFailure } from "./errors.ts";
import { HttpObserver, methodLabel } from "./observe.ts";
import type { HttpSettings } from "./settings.ts";
import { type StandardTypes, useStandardSchemas } from "./standard-schema.ts";

/** A fastify app whose schemas may be Standard Schemas, with types inferred from them. */
export type HttpApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  StandardTypes
>;

/** Adds routes, hooks or plugins: an ordinary fastify plugin. */
export type HttpRoutes = (app: HttpApp) => void | Promise<void>;

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

export interface HttpServerOptions {
  readonly settings: HttpSettings;
  readonly log: Logger;
  readonly errors: ErrorBus;
  readonly metrics: Metrics;
  readonly tracing: Tracing;
  readonly clock: Clock;
  readonly routes: readonly HttpRoutes[];
  /** The environment variable that moves the port, for the error of a busy one. Default `PLINTH_HTTP_PORT`. */
  readonly portVariable?: string;
  /** Answers before everything else, unseen by metrics, traces and access log. Absent: it has a listener of its own. */
  readonly ops?: OpsHandler | undefined;
}

export interface HttpServer {
  readonly host: string;
  /** The port bound; 0 before `listen`. */
  readonly port: number;
  /** @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`. */
  listen(): Promise<void>;
  /** From now on each reply closes its connection, while new ones are still served. */
  announceDrain(): void;
  /** Stops accepting and resolves when the last request has been answered, or is cut off when `signal` aborts. */
  drain(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Cuts off whatever is left. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * An HTTP/1.1 server: recovery, request id, trace, log context, metrics, deadline and limits around ordinary fastify routes.
 * Every error leaves as problem+json; a fault of the server leaves without its text and goes to the error bus once.
 */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { settings } = options;
  const core = new RequestCore(options);
  let server: Server | undefined;
  const app: HttpApp = fastify({
    bodyLimit: settings.maxBodyBytes,
    forceCloseConnections: false,
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => core.fail(error, request, reply),
    serverFactory: (handler) => (server = core.createServer(handler)),
  }).withTypeProvider<StandardTypes>();
  app.addHook("onRoute", useStandardSchemas);
  app.addHook("onRequest", (request, reply, done) => {
    core.routed(request, reply);
    done();
  });
  // Reading a body leaves the context of the request: it comes from the socket's events.
  app.addHook("preValidation", (request, _reply, done) => core.reenter(request, done));
  app.setErrorHandler((error, request, reply) => core.fail(error, request, reply));
  app.setNotFoundHandler((request, reply) =>
    core.fail(
      new TransportError(
        "ERR_ROUTE_NOT_FOUND",
        "not_found",
        `there is no ${methodLabel(request.method)} route for this path`,
      ),
      request,
      reply,
    ),
  );
  for (const routes of options.routes) await app.register(async (scope) => routes(scope));
  await app.ready();
  if (server === undefined) throw new Error("fastify made no server"); // serverFactory runs in the constructor
  return new DrainingServer(app, server, core, options);
}

/** What surrounds every request, whichever route it goes to. */
class RequestCore {
  readonly inFlight = new Set<ServerResponse>();
  draining = false;
  readonly #options: HttpServerOptions;
  readonly #observer: HttpObserver;
  readonly #exchanges = new WeakMap<IncomingMessage, Exchange>();
  readonly #replies = new WeakMap<Exchange, FastifyReply>();

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#observer = new HttpObserver(options.metrics, options.settings.accessLog ? options.log : undefined);
    options.metrics.gauge({
      name: "http_server_active_requests",
      help: "Requests being served.",
      collect: (gauge) => gauge.set({}, this.inFlight.size),
    });
  }

  createServer(handler: (request: IncomingMessage, response: ServerResponse) => void): Server {
    const { headersTimeoutMs, requestTimeoutMs, keepAliveTimeoutMs } = this.#options.settings;
    const server = createServer(
      {
        headersTimeout: headersTimeoutMs,
        requestTimeout: requestTimeoutMs,
        keepAliveTimeout: keepAliveTimeoutMs,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => this.#begin(request, response, handler),
    );
    server.on("clientError", (error, socket) => {
      this.#observer.malformed();
      answerMalformed(error, socket);
    });
    return server;
  }

  #begin(
    request: IncomingMessage,
    response: ServerResponse,
    handler: (request: IncomingMessage, response: ServerResponse) => void,
  ): void {
    const { ops, tracing, clock, settings } = this.#options;
    if (ops?.(request, response)) return;
    const { headers } = request;
    const span = tracing.startSpan(methodLabel(request.method), {
      kind: "server",
      parent: parseTraceparent(typeof headers.traceparent === "string" ? headers.traceparent : undefined) ?? null,
      attributes: {
        "http.request.method": methodLabel(request.method),
        "url.path": pathAttribute(request.url),
        "url.scheme": "http",
      },
    });
    const exchange: Exchange = new Exchange({
      requestId: requestIdOf(headers["x-request-id"]),
      span,
      clock,
      budgetMs: budgetOf(headers["plinth-timeout-ms"], settings.deadlineMs),
      onDeadline: (error) => this.#expire(exchange, error),
    });
    this.#exchanges.set(request, exchange);
    this.inFlight.add(response);
    response.once("close", () => {
      this.inFlight.delete(response);
      exchange.end();
      if (!response.writableFinished) exchange.abort(new AppError("ERR_CANCELLED", "cancelled", "the caller has gone"));
      this.#observer.finished(exchange, request, response, clock.monotonicMs() - exchange.startedAtMs);
    });
    runInContext(exchange, () => handler(request, response));
  }

  /** The router has found the route, or that there is none. */
  routed(request: FastifyRequest, reply: FastifyReply): void {
    const exchange = this.#exchanges.get(request.raw);
    if (!exchange) return; // injected by a test, past the server
    exchange.route = request.routeOptions.url ?? "unmatched";
    this.#replies.set(exchange, reply);
    reply.header("x-request-id", exchange.requestId);
    if (this.draining) reply.header("connection", "close");
  }

  reenter(request: FastifyRequest, done: () => void): void {
    const exchange = this.#exchanges.get(request.raw);
    if (exchange === undefined || currentContext() === exchange) done();
    else runInContext(exchange, done);
  }

  /** Answers with what the caller may know, and reports what is the server's fault. */
  fail(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const { error, httpStatus } = toHttpFailure(thrown);
    const exchange = this.#exchanges.get(request.raw);
    const problem = toProblem(error, { traceId: exchange?.span.traceId, httpStatus });
    if (exchange) exchange.error = error;
    if (problem.status >= 500) {
      const report = (): AppError =>
        this.#options.errors.report(thrown, {
          origin: "request",
          attributes: { route: exchange?.route ?? "unmatched" },
        });
      if (exchange) runInContext(exchange, report);
      else report();
    }
    if (problem.status === 413) reply.header("connection", "close"); // the rest of the body is not read
    const { status, contentType, body } = (request.routeOptions.config?.renderError ?? renderProblem)(error, problem);
    void reply.code(status).type(contentType).serializer(String).send(body);
  }

  /** The deadline has passed: the handler's signal has been aborted, and what it still returns is dropped. */
  #expire(exchange: Exchange, error: AppError): void {
    const reply = this.#replies.get(exchange);
    if (reply && !reply.sent) runInContext(exchange, () => this.fail(error, reply.request, reply));
  }
}

class DrainingServer implements HttpServer {
  readonly host: string;
  port = 0;
  readonly #app: HttpApp;
  readonly #server: Server;
  readonly #core: RequestCore;
  readonly #options: HttpServerOptions;
  #drained: Promise<void> | undefined;

  constructor(app: HttpApp, server: Server, core: RequestCore, options: HttpServerOptions) {
    this.#app = app;
    this.#server = server;
    this.#core = core;
    this.#options = options;
    this.host = options.settings.host;
  }

  async listen(): Promise<void> {
    const { settings, portVariable: variable = "PLINTH_HTTP_PORT" } = this.#options;
    this.port = await listen(this.#server, { host: settings.host, port: settings.port, variable });
  }

  announceDrain(): void {
    this.#core.draining = true;
    for (const response of this.#core.inFlight) response.shouldKeepAlive = false;
  }

  drain({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    return (this.#drained ??= this.#drain(signal));
  }

  async close(): Promise<void> {
    if (this.#server.listening || !this.#drained) await this.drain({ signal: AbortSignal.abort() });
    await this.#app.close();
  }

  #drain(signal: AbortSignal): Promise<void> {
    this.announceDrain();
    if (!this.#server.listening) return Promise.resolve();
    return new Promise((resolve) => {
      const cut = (): void => this.#server.closeAllConnections();
      // close() also closes the idle connections; those busy now close after their reply
      this.#server.close(() => {
        signal.removeEventListener("abort", cut);
        resolve();
      });
      if (signal.aborted) cut();
      else signal.addEventListener("abort", cut, { once: true });
    });
  }
}

function renderProblem(_error: AppError, problem: Problem): RenderedError {
  return { status: problem.status, contentType: problemContentType, body: JSON.stringify(problem) };
}

const safeRequestId = /^[A-Za-z0-9_.:-]{8,128}$/;

/** The caller's id when it is well formed, else a new one. */
function requestIdOf(header: string | string[] | undefined): string {
  return typeof header === "string" && safeRequestId.test(header) ? header : randomHex(16);
}

function pathAttribute(url = ""): string {
  const end = url.indexOf("?");
  return end < 0 ? url : url.slice(0, end);
}
