import { type AppError, currentContext, type ErrorOrigin, runInContext } from "@plinth/kernel";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type Problem, problemContentType } from "../problem.ts";
import { type HttpFailure, toHttpFailure } from "./errors.ts";
import { exchangeOf, type HttpExchange, type ServedRequest, type ServedResponse } from "./exchange.ts";
import type { ToldFailure } from "./exchange-owner.ts";
import type { Faults } from "./faults.ts";
import type { GuardedCore } from "./guard.ts";
import type { FailureListener } from "./log-bridge.ts";
import type { Pipelines } from "./pipelines.ts";
import { type Edge, idsOf, ofTheReplyThatFailed, writeProblem } from "./raw-reply.ts";
import type { OnionHost } from "./stages.ts";

/** An error reply in the form that a route's callers expect. */
export interface RenderedError {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Buffer;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** How errors of this route are written. Default: problem+json. */
    readonly renderError?: (error: AppError, problem: Problem, request: FastifyRequest) => RenderedError;
    /** Its reply ends with a message of its own, which says how it went and what comes after. Default false. */
    readonly hasEndMessage?: boolean;
    /** What the route's faults are of, for the error bus. Default `request`. */
    readonly origin?: ErrorOrigin;
  }
}

/** Answers requests that their handlers do not: in fastify while that can, past it when it cannot, and with an end of the connection as the last. */
export class Answers implements OnionHost, GuardedCore, FailureListener {
  readonly #faults: Faults;
  readonly #pipelines: Pipelines;
  readonly #edge: Edge;

  constructor(faults: Faults, pipelines: Pipelines, edge: Edge) {
    this.#faults = faults;
    this.#pipelines = pipelines;
    this.#edge = edge;
  }

  refuse(thrown: unknown, exchange: HttpExchange): void {
    const failure = toHttpFailure(thrown);
    try {
      if (exchange.isOver || exchange.response.writableEnded) this.failedAround(thrown, exchange);
      else this.answer(exchange, failure, thrown, hasNoBody(exchange.request));
    } catch (second) {
      this.recover(second, exchange.request, exchange.response, failure);
    }
  }

  failedAround(thrown: unknown, exchange: HttpExchange): void {
    this.#faults.reportLate(thrown, exchange);
  }

  /** The context of the request, should a hook have left it. */
  lostBy(request: FastifyRequest): HttpExchange | undefined {
    const exchange = exchangeOf(request.raw);
    const context = currentContext();
    return context === exchange || context?.root === exchange ? undefined : exchange;
  }

  /** Answers with what the caller may know, and reports what is the server's fault. */
  fail(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const exchange = exchangeOf(request.raw);
    const failure = this.#faults.toFailure(thrown, request);
    if (this.#faults.isLate(thrown, exchange, failure)) return;
    const problem = this.#faults.record(thrown, failure, exchange);
    if (reply.raw.headersSent) {
      if (exchange) exchange.cut(failure.error);
      else reply.raw.destroy();
      return;
    }
    for (const name of ofTheReplyThatFailed) reply.removeHeader(name);
    if (exchange) {
      // A path that the router cannot read has come past no hook.
      if (exchange.reply === undefined) reply.headers(exchange.replyHeaders ?? {});
      reply.header("x-request-id", exchange.requestId);
    }
    if (closing.has(problem.status)) {
      reply.header("connection", "close");
      this.#pipelines.close(request.raw.socket);
    }
    const render = request.routeOptions.config?.renderError ?? renderProblem;
    const { status, contentType, body } = render(failure.error, problem, request);
    void reply.code(status).type(contentType).serializer(String).send(body);
  }

  /** Answers when `fail` could not: a hook or a header of the route broke that reply too. */
  failAgain(thrown: unknown, request: FastifyRequest, { raw }: FastifyReply): void {
    const failure = toHttpFailure(thrown);
    const exchange = exchangeOf(request.raw);
    if (exchange) this.answer(exchange, failure, thrown);
    else raw.destroy();
  }

  /** A reply's stream failed after part of it was sent: what has arrived must not look complete. */
  streamFailed(thrown: unknown, request: FastifyRequest): void {
    const exchange = exchangeOf(request.raw);
    if (!exchange || exchange.stopped || exchange.response.destroyed) return; // it failed for the caller has gone
    this.breakOff(thrown, exchange);
  }

  /** A stream of messages failed, and its last one tells. */
  failedInside(exchange: HttpExchange, thrown: unknown): ToldFailure {
    const failure = toHttpFailure(thrown);
    return { error: failure.error, problem: this.#faults.record(thrown, failure, exchange) };
  }

  failedAfterwards(thrown: unknown, request: FastifyRequest): void {
    this.#faults.report(thrown, exchangeOf(request.raw));
  }

  hookFailed(thrown: unknown, exchange: HttpExchange): void {
    this.#faults.report(thrown, exchange);
  }

  failedLate(thrown: unknown, exchange: HttpExchange): void {
    this.#faults.reportLate(thrown, exchange);
    if (!exchange.response.writableEnded) exchange.response.destroy(); // taken over, and nobody will end it now
  }

  failed(exchange: HttpExchange, thrown: unknown, failure = toHttpFailure(thrown)): void {
    if (exchange.isOver || exchange.response.writableEnded) {
      this.#faults.report(thrown, exchange);
      return;
    }
    exchange.abort(failure.error);
    this.answer(exchange, failure, thrown);
  }

  expired(exchange: HttpExchange, error: AppError): void {
    const { reply, request, response } = exchange;
    if (exchange.onCut !== undefined) return; // a stream of messages, whose last one tells
    if (response.writableEnded || reply?.sent) return; // being sent, or taken over by the handler
    try {
      if (reply) this.fail(error, reply.request, reply);
      else this.answer(exchange, { error });
    } catch (thrown) {
      this.recover(thrown, request, response, { error }); // a header of the route that cannot be sent
    }
  }

  /** The outermost layer: something threw that nothing inside has caught, one of these layers perhaps. */
  recover(thrown: unknown, request: ServedRequest, response: ServedResponse, failure?: HttpFailure): void {
    const { exchange } = request;
    try {
      if (exchange) {
        this.failed(exchange, thrown, failure);
        return;
      }
      const ids = idsOf(request, this.#edge.trust);
      runInContext(ids, () => this.#faults.report(thrown, undefined));
      if (response.headersSent) response.destroy();
      else writeProblem(response, toHttpFailure(thrown), { ...ids, headers: this.#edge.headers });
    } catch (second) {
      this.#faults.report(second, exchange);
      request.socket.destroy();
    }
  }

  /** Part of the reply was sent, and there will be no more. */
  breakOff(thrown: unknown, exchange: HttpExchange): void {
    const failure = toHttpFailure(thrown);
    this.#faults.record(thrown, failure, exchange, "stream");
    exchange.cut(failure.error);
  }

  /** Answers past fastify, with nothing that a route has set, and closes the connection unless it can be kept. */
  answer(exchange: HttpExchange, failure: HttpFailure, thrown: unknown = failure.error, keepAlive = false): void {
    this.#faults.record(thrown, failure, exchange);
    const { request, response, requestId, span, replyHeaders } = exchange;
    if (!keepAlive) this.#pipelines.close(request.socket);
    if (response.headersSent) exchange.cut(failure.error);
    else {
      const headers = { ...this.#edge.headers, ...replyHeaders };
      writeProblem(response, failure, { requestId, traceId: span.traceId, headers, keepAlive });
    }
  }
}

/** Nothing more of it will come, so that the connection can be used for the next one. */
function hasNoBody({ headers }: ServedRequest): boolean {
  return headers["content-length"] === undefined && headers["transfer-encoding"] === undefined;
}

/** After these, what the caller still sends of its request is not read. */
const closing: ReadonlySet<number> = new Set([408, 413, 504]);

function renderProblem(_error: AppError, problem: Problem): RenderedError {
  return { status: problem.status, contentType: problemContentType, body: JSON.stringify(problem) };
}
