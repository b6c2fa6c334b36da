import { type ErrorBus, type ErrorOrigin, type Logger, runInContext } from "@plinth/kernel";
import type { FastifyRequest } from "fastify";
import { callerGone } from "../exchange.ts";
import { type Problem, toProblem } from "../problem.ts";
import { isIncident } from "../status.ts";
import { type HttpFailure, routeNotFound, toHttpFailure } from "./errors.ts";
import { exchangeOf, type HttpExchange } from "./exchange.ts";

export interface FaultsOptions {
  readonly log: Logger;
  readonly errors: ErrorBus;
}

/** What goes wrong in requests: what of it callers see, and what the error bus hears, once and with the ids of the request. */
export class Faults {
  readonly #log: Logger;
  readonly #errors: ErrorBus;

  constructor({ log, errors }: FaultsOptions) {
    this.#log = log;
    this.#errors = errors;
  }

  /** What was thrown while a route was served, as its caller sees it. */
  toFailure(thrown: unknown, request: FastifyRequest): HttpFailure {
    if (thrown instanceof Error && thrown === request.raw.errored) return { error: callerGone(thrown) }; // in its body
    const failure = toHttpFailure(thrown);
    // Where no route wants the body, what is wrong with it does not matter; a path that cannot be read never gets there.
    const isUnmatched = request.is404 && exchangeOf(request.raw)?.reply !== undefined;
    return isUnmatched && failure.httpStatus !== undefined ? { error: routeNotFound(request.method) } : failure;
  }

  /** True for what a handler throws after it was told to stop and its caller was answered. */
  isLate(thrown: unknown, exchange: HttpExchange | undefined, { error }: HttpFailure): boolean {
    if (!exchange?.stopped || error === exchange.stopped) return false;
    if (!exchange.response.headersSent && !exchange.response.destroyed) return false;
    this.#log.debug("a handler failed after it had been told to stop", { error: thrown });
    return true;
  }

  /** A handler failed when its reply was given, or could no longer be. */
  reportLate(thrown: unknown, exchange: HttpExchange): void {
    if (exchange.stopped) this.#log.debug("a handler failed after it had been told to stop", { error: thrown });
    else this.report(thrown, exchange, undefined, { replied: true });
  }

  /** Keeps what went wrong for span and access log, and reports what operators should hear of. */
  record(
    thrown: unknown,
    { error, httpStatus, isUnexpected = false }: HttpFailure,
    exchange: HttpExchange | undefined,
    origin?: ErrorOrigin,
  ): Problem {
    const problem = toProblem(error, { traceId: exchange?.span.traceId, httpStatus });
    if (exchange) exchange.error = error;
    // That a caller gave too little time is not the server's fault.
    const isCallers = error === exchange?.stopped && exchange.budget.isCallers;
    const isForOperators = isUnexpected || (problem.status >= 500 && isIncident(error.status));
    if (!isForOperators || isCallers) return problem;
    if (exchange?.isReported) {
      this.#log.warn("a reply that told of a failure failed too", { error: thrown });
      return problem;
    }
    this.report(error.status === "internal" ? error : thrown, exchange, origin);
    return problem;
  }

  /** @param origin - Default: what the route serves. */
  report(thrown: unknown, exchange: HttpExchange | undefined, origin?: ErrorOrigin, more?: { replied: true }): void {
    const tell = (): void => {
      const attributes = { route: exchange?.route ?? "unmatched", ...more };
      this.#errors.report(thrown, { origin: origin ?? exchange?.origin ?? "request", attributes });
    };
    if (exchange === undefined) {
      tell();
      return;
    }
    exchange.isReported = true;
    runInContext(exchange, tell);
  }
}
