import {
  AppError,
  type Baggage,
  type Clock,
  messageOf,
  parseBaggage,
  type RequestContext,
  type RequestScope,
  type RequestScopes,
  runInContext,
  type Scheduled,
  scopeValue,
  type Span,
} from "@plinth/kernel";
import type { Identity } from "./auth.ts";
import type { Deadlines, Due } from "./deadlines.ts";
import { TransportError } from "./errors.ts";
import { incoming, type Incoming } from "./incoming.ts";
import type { MiddlewareRequest, RequestOutcome } from "./middleware.ts";

export interface ExchangeOptions {
  readonly requestId: string;
  readonly span: Span;
  readonly clock: Clock;
  readonly budget: Budget;
  /** Where those stand that have the server's time. Absent: the request has a timer of its own, as one whose caller allows less. */
  readonly deadlines?: Deadlines | undefined;
  /** Absent: nothing lives for one request only. */
  readonly scopes: RequestScopes | undefined;
}

/** The time that a request may take. */
export interface Budget {
  /** Milliseconds left for the work, above 0. */
  readonly ms: number;
  /** True when the caller asked for less than the server allows. */
  readonly isCallers: boolean;
}

/** That of a stream whose caller names none. */
export const anyTime: Budget = Object.freeze({ ms: Infinity, isCallers: false });

/** One request being served, HTTP or RPC: what its handler, log lines, spans and statements share. */
export abstract class Exchange implements RequestContext, MiddlewareRequest, Due {
  abstract readonly protocol: Incoming["protocol"];
  readonly requestId: string;
  readonly span: Span;
  readonly startedAtMs: number;
  deadlineAtMs: number;
  budget: Budget;
  /** Route template or RPC method: what labels and span names may hold. */
  route = "unmatched";
  /** What went wrong, for span and access log. */
  error: AppError | undefined;
  /** Who asks, once the authentication has found out. */
  identity: Identity | undefined;
  /** What {@link setReplyHeader} has been given; undefined until then. */
  replyHeaders: Record<string, string> | undefined;
  /** The reply ends with a message that has room for what comes after it, as streams of the Connect protocol do. */
  hasEndMessage = false;
  /** What {@link setReplyTrailer} has been given for the end of a gRPC call or of a stream; undefined until then. */
  replyTrailers: Record<string, string> | undefined;
  #clientAddress: string | undefined;
  #over: PromiseWithResolvers<RequestOutcome> | undefined;
  #baggage: Baggage | null | undefined;
  dueBefore: Due | undefined;
  dueAfter: Due | undefined;
  readonly clock: Clock;
  #deadlines: Deadlines | undefined;
  #timer: Scheduled | undefined;
  readonly #scopes: RequestScopes | undefined;
  #scope: RequestScope | undefined;
  #controller: AbortController | undefined;
  #stopped: AppError | undefined;
  #isOver = false;

  constructor({ requestId, span, clock, budget, deadlines, scopes }: ExchangeOptions) {
    this.requestId = requestId;
    this.span = span;
    this.clock = clock;
    this.budget = budget;
    this.#scopes = scopes;
    this.startedAtMs = clock.monotonicMs();
    this.deadlineAtMs = this.startedAtMs + budget.ms;
    this.#deadlines = budget.isCallers ? undefined : deadlines;
    if (this.#deadlines) this.#deadlines.add(this);
    else this.#timer = clock.schedule(budget.ms, () => this.expire(), { keepAlive: false });
  }

  /** Aborts when the caller has gone or the deadline has passed. Made when first asked for: most handlers never do. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#stopped) this.#controller.abort(this.#stopped);
    }
    return this.#controller.signal;
  }

  /** What lives for this request only. Opened when first asked for: most requests never do. */
  get scope(): RequestScope | undefined {
    if (this.#isOver) return this.#scope;
    return (this.#scope ??= this.#scopes?.open(scopeOptionsOf(this)));
  }

  abstract header(name: string): string | undefined;

  /** Whether what the connection's peer says of a request is believed: its id, its trace, its baggage. */
  protected abstract isPeerTrusted(): boolean;

  /** What came with the request, where a trusted peer sent it: nobody else's goes on to others. Read when first asked for. */
  get baggage(): Baggage | undefined {
    if (this.#baggage === undefined) {
      const header = this.header("baggage");
      this.#baggage = (header !== undefined && this.isPeerTrusted() ? parseBaggage(header) : undefined) ?? null;
    }
    return this.#baggage ?? undefined;
  }

  /** That of the peer until a layer that knows better sets it. Read when first asked for. */
  get clientAddress(): string {
    return (this.#clientAddress ??= this.peerAddress());
  }

  set clientAddress(address: string) {
    this.#clientAddress = address;
  }

  get peer(): string {
    return this.peerAddress();
  }

  /** As {@link Incoming.peer}. */
  protected abstract peerAddress(): string;

  /** True when the head of the reply has been sent. */
  abstract get hasReplyBegun(): boolean;

  /**
   * Adds a header to the reply, whatever it will be: also to that of an error.
   * @param name - In lower case. One that is there already is replaced.
   * @throws {@link TransportError} `ERR_REPLY_BEGUN`.
   */
  setReplyHeader(name: string, value: string): void {
    if (this.hasReplyBegun) throw replyBegun(name);
    (this.replyHeaders ??= {})[name] = value;
  }

  /**
   * Adds metadata that comes after the reply, whatever it will be: over HTTP as the header `trailer-…` of the Connect protocol, or in
   * the last message of a stream.
   * @param name - In lower case. One that is there already is replaced.
   * @throws {@link TransportError} `ERR_REPLY_BEGUN`, over gRPC and for a stream only once the call is over.
   */
  setReplyTrailer(name: string, value: string): void {
    if (this.protocol === "http" && !this.hasEndMessage) this.setReplyHeader(`trailer-${name}`, value);
    else if (this.#isOver) throw replyBegun(name);
    else (this.replyTrailers ??= {})[name] = value;
  }

  /** Resolves when {@link end} has been called. Never rejects. */
  get over(): Promise<RequestOutcome> {
    if (this.#over === undefined) {
      this.#over = Promise.withResolvers<RequestOutcome>();
      if (this.#isOver) this.#over.resolve({ error: this.error });
    }
    return this.#over.promise;
  }

  /** True when {@link end} has been called. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Why the handler was told to stop, if it was. What it still does after that is nobody's answer. */
  get stopped(): AppError | undefined {
    return this.#stopped;
  }

  /** Tells the handler to stop; the first reason counts, and none does after {@link end}. */
  abort(reason: AppError): void {
    if (this.#stopped || this.#isOver) return;
    this.#stopped = reason;
    const controller = this.#controller;
    // inside of the request, so that what a listener throws is known to be of it
    if (controller) runInContext(this, () => controller.abort(reason));
  }

  /**
   * The exchange is over: nothing fires any more, and what lived for it is stopped.
   * @param onFailure - Told when some of that could not be stopped.
   */
  end(onFailure: (error: unknown) => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopTimer();
    this.#over?.resolve({ error: this.error });
    const scope = this.#scope;
    if (scope) runInContext(this, async () => scope.close()).catch(onFailure);
  }

  /**
   * From now on it takes as long as it takes.
   * @param budget - What its caller allows nevertheless, since its beginning. Default: any time.
   */
  protected lift(budget = anyTime): void {
    this.#stopTimer();
    this.#deadlines = undefined;
    this.budget = budget;
    this.deadlineAtMs = this.startedAtMs + budget.ms;
    if (budget.ms === Infinity || this.#isOver) return;
    const leftMs = Math.max(0, this.deadlineAtMs - this.clock.monotonicMs());
    this.#timer = this.clock.schedule(leftMs, () => this.expire(), { keepAlive: false });
  }

  #stopTimer(): void {
    if (this.#deadlines) this.#deadlines.remove(this);
    else this.#timer?.cancel();
  }

  /** The deadline has passed. */
  expire(): void {
    if (this.#stopped || this.#isOver) return;
    const error = new TransportError(
      "ERR_DEADLINE_EXCEEDED",
      "deadline_exceeded",
      `no answer within the ${Math.round(this.budget.ms)} ms allowed`,
    );
    this.abort(error);
    this.expired(error);
  }

  /** Answers in place of the handler, which has been told to stop. */
  protected abstract expired(error: AppError): void;
}

function replyBegun(name: string): TransportError {
  return new TransportError(
    "ERR_REPLY_BEGUN",
    "failed_precondition",
    `the reply is on its way, so that ${name} cannot be added; set it earlier`,
  );
}

/** The signal is read, and so made, only when something asks for it. */
function scopeOptionsOf(exchange: Exchange) {
  return {
    values: [scopeValue(incoming, exchange)],
    get signal() {
      return exchange.signal;
    },
  };
}

/**
 * What was thrown by code that meant no caller, as an error. A cancellation that nobody has asked for is a fault like any
 * other: a caller who is still there has not left.
 */
export function toUnexpected(thrown: unknown): AppError {
  const error = AppError.from(thrown);
  if (error.status !== "cancelled") return error;
  return new AppError("ERR_INTERNAL", "internal", messageOf(thrown), { cause: thrown });
}

/** What ends a call that takes longer than the server waits when it stops. */
export function cutOffError(): TransportError {
  const text = "the server stops, and the call took longer than it waits; try again elsewhere";
  return new TransportError("ERR_SERVER_STOPPING", "unavailable", text, { retryable: true });
}

/** Why a caller's leaving stops the handler. */
export function callerGone(cause?: unknown): AppError {
  return new AppError("ERR_CANCELLED", "cancelled", "the caller has gone", cause === undefined ? {} : { cause });
}

/**
 * The caller's remaining time, if it names one, else the server's; never more than the server's.
 * @param callerMs - The header's text: at most ten digits; anything else counts as absent. 0 becomes 1.
 */
export function budgetOf(callerMs: string | readonly string[] | undefined, server: Budget): Budget {
  if (typeof callerMs !== "string" || !/^\d{1,10}$/.test(callerMs)) return server;
  const ms = Math.max(1, Number(callerMs));
  return ms < server.ms ? { ms, isCallers: true } : server;
}

const safeRequestId = /^[A-Za-z0-9_.:-]{8,128}$/;

/** The caller's request id when it is well formed: safe to log, to send on and to show. */
export function safeRequestIdOf(given: unknown): string | undefined {
  return typeof given === "string" && safeRequestId.test(given) ? given : undefined;
}
