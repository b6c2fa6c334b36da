import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { AppError, type Clock, type Logger } from "@plinth/kernel";
import { type FastifyBaseLogger, type FastifyInstance, fastify, type RawServerDefault } from "fastify";
import type { TransportError } from "../errors.ts";
import { unknownPeer } from "../client-address.ts";
import { checkRouteNeeds, guardNotFound } from "./auth.ts";
import { compressReplies } from "./compression.ts";
import { lateCompilers, loadCompilersLate } from "./compilers.ts";
import { RequestCore, type RequestCoreOptions } from "./core.ts";
import { keepVary } from "./cors.ts";
import { inflateRequests } from "./inflate.ts";
import { readJson } from "./json-body.ts";
import { routeNotFound } from "./errors.ts";
import { cutOffError } from "../exchange.ts";
import { exchangeOf } from "./exchange.ts";
import { closeGaps } from "./guard.ts";
import { bridgeLog, QuietLog } from "./log-bridge.ts";
import type { DocumentInfo } from "./openapi/operation.ts";
import { recordRoutes } from "./openapi/route-record.ts";
import { serveDocument } from "./openapi/serve.ts";
import { HttpListener } from "./listener.ts";
import { SlowBodies } from "./slow-bodies.ts";
import { type StandardTypes, useStandardSchemas } from "./standard-schema.ts";

export type { RenderedError } from "./answers.ts";

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

export interface HttpServerOptions extends RequestCoreOptions {
  readonly routes: readonly HttpRoutes[];
  /** What the OpenAPI document calls the service. Default: `http`, `0.0.0`. */
  readonly info?: Pick<DocumentInfo, "title" | "version">;
  /** The environment variable that moves the port, for the error of a busy one. Default `PLINTH_HTTP_PORT`. */
  readonly portVariable?: string;
  /**
   * Told once when the server no longer listens though neither `drain` nor `close` was called: `ERR_LISTEN_LOST`.
   * Default: the error bus is told.
   */
  readonly onDied?: ((error: TransportError) => void) | undefined;
}

export interface HttpServer {
  readonly host: string;
  /** Why it is of no use to those who find it in the registry, which tells them host and port alone. */
  readonly unusable: string | undefined;
  /** The port bound; 0 before `listen`. */
  readonly port: number;
  /** @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`, `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE`. */
  listen(): Promise<void>;
  /** From now on each reply closes its connection, while new ones are still served. */
  announceDrain(): void;
  /** Stops accepting and resolves when the last request has been answered, or is cut off when `signal` aborts. */
  drain(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Cuts off whatever is left. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * A server of HTTP/1.1, and of HTTP/2 where the settings say so: recovery, request id, trace, log context, metrics, deadline and limits around ordinary fastify routes.
 * Every error leaves as problem+json; a fault of the server leaves without its text and goes to the error bus once.
 */
export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { settings, log, routes } = options;
  const core = new RequestCore(options);
  const requestLog = bridgeLog(log, core.answers);
  let server: Server | undefined;
  const app: HttpApp = fastify({
    bodyLimit: settings.maxBodyBytes,
    forceCloseConnections: false,
    return503OnClosing: false,
    logController: new QuietLog(core.answers),
    schemaController: { compilersFactory: lateCompilers },
    genReqId: (request) => exchangeOf(request)?.requestId ?? "",
    frameworkErrors: (error, request, reply) => core.answers.fail(error, request, reply),
    clientErrorHandler: (error, socket) => core.refuseConnection(error, socket),
    serverFactory: (handler) => (server = core.createServer(handler)),
  }).withTypeProvider<StandardTypes>();
  loadCompilersLate(app);
  app.log = requestLog;
  app.decorateRequest("signal", {
    getter() {
      return exchangeOf(this.raw)?.signal ?? new AbortController().signal;
    },
  });
  app.decorateRequest("identity", {
    getter() {
      return exchangeOf(this.raw)?.identity;
    },
  });
  app.decorateRequest("clientAddress", {
    getter() {
      return exchangeOf(this.raw)?.clientAddress ?? unknownPeer;
    },
  });
  checkRouteNeeds(app, options);
  readJson(app, settings);
  keepVary(app, settings.cors);
  inflateRequests(app, settings.compression);
  compressReplies(app, settings.compression);
  const { openapiPath } = settings;
  const records = openapiPath === undefined ? [] : recordRoutes(app); // before their schemas are made ready
  app.addHook("onRoute", useStandardSchemas);
  app.addHook("onRequest", (request, reply, done) => {
    request.log = reply.log = requestLog;
    core.routed(request, reply);
    core.enterRoute(request, done);
  });
  closeGaps(app, core.answers);
  // Two error handlers, one inside the other: fastify goes outwards when answering an error fails in its turn.
  app.setErrorHandler((error, request, reply) => core.answers.failAgain(error, request, reply));
  await app.register(async (inner) => {
    inner.setErrorHandler((error, request, reply) => core.answers.fail(error, request, reply));
    inner.setNotFoundHandler((request, reply) => core.answers.fail(routeNotFound(request.method), request, reply));
    guardNotFound(inner, options); // those inside of it
    if (openapiPath !== undefined) {
      const { authenticator, info: { title, version } = { title: "http", version: "0.0.0" } } = options;
      const info = { title, version, auth: authenticator ? settings.auth : ("off" as const) };
      const warn = (text: string): void => log.warn("openapi", { what: text });
      serveDocument(inner, { path: openapiPath, records, info, warn });
    }
    for (const addRoutes of routes) await inner.register(async (scope) => addRoutes(scope));
  });
  await app.ready();
  if (server === undefined) throw new Error("fastify made no server"); // serverFactory runs in the constructor
  return new DrainingServer(app, server, core, options);
}

/** Time for the last messages of streams to reach their callers, in milliseconds, when a drain is over its limit. */
const lastWordsMs = 250;

class DrainingServer implements HttpServer {
  readonly host: string;
  readonly unusable: string | undefined;
  readonly #app: HttpApp;
  readonly #core: RequestCore;
  readonly #listener: HttpListener;
  readonly #atOnce = new AbortController();
  readonly #slowBodies: SlowBodies;
  readonly #clock: Clock;
  readonly #log: Logger;
  #isCutting = false;
  #drained: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(app: HttpApp, server: Server, core: RequestCore, options: HttpServerOptions) {
    this.#app = app;
    this.#core = core;
    this.#listener = new HttpListener({ ...options, http1: server, layers: core.http2Layers });
    this.#slowBodies = new SlowBodies({ ...options, inFlight: core.inFlight, answers: core.answers });
    this.#clock = options.clock;
    this.#log = options.log;
    const { host, socketPath, tls } = options.settings;
    this.host = host;
    if (socketPath !== undefined) this.unusable = "it listens on a path, http.socketPath, and on no port";
    else if (tls !== undefined) this.unusable = "it speaks TLS, and the registry tells callers of no scheme but http";
  }

  get port(): number {
    return this.#listener.port;
  }

  async listen(): Promise<void> {
    await this.#listener.listen();
    this.#slowBodies.start();
  }

  announceDrain(): void {
    if (!this.#core.draining) this.#listener.announceDrain();
    this.#core.draining = true;
    for (const { response } of this.#core.inFlight) response.shouldKeepAlive = false;
  }

  async drain({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    if (signal.aborted) this.#atOnce.abort();
    this.#drained ??= this.#drain();
    const cut = (): void => {
      this.#atOnce.abort();
      this.#cut();
    };
    if (signal.aborted) cut();
    signal.addEventListener("abort", cut, { once: true });
    try {
      await this.#drained;
    } finally {
      signal.removeEventListener("abort", cut);
    }
  }

  /** Streams of messages have a moment to tell their callers why they end. */
  #cut(): void {
    if (this.#isCutting) return;
    const streams = [...this.#core.inFlight].filter(({ onCut }) => onCut !== undefined);
    if (streams.length === 0) {
      this.#listener.cut();
      return;
    }
    this.#isCutting = true;
    this.#log.warn("streams are cut off, since the drain's limit has passed", { streams: streams.length });
    for (const { onCut } of streams) onCut?.(cutOffError());
    const limit = this.#clock.schedule(lastWordsMs, () => this.#listener.cut());
    void this.#drained?.finally(() => limit.cancel());
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    await this.drain({ signal: AbortSignal.abort(new AppError("ERR_CANCELLED", "cancelled", "the server closes")) });
    await this.#app.close();
    this.#core.close();
    this.#slowBodies.close();
  }

  async #drain(): Promise<void> {
    this.announceDrain();
    if (!this.#listener.isListening) return;
    const last = this.#listener.takeLast(this.#atOnce.signal);
    if (last) await last;
    if (last && this.#atOnce.signal.aborted) this.#cut(); // those that came meanwhile
    this.#core.endStreams();
    const { inFlight } = this.#core;
    const isBusy = (socket: object): boolean => [...inFlight].some(({ request }) => request.socket === socket);
    this.#core.onFinished = (socket) => {
      if (!isBusy(socket)) this.#listener.release(socket);
    };
    await this.#listener.drain(isBusy);
  }
}
