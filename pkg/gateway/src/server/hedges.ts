import type { Duplex } from "node:stream";
import type { Clock, Scheduled, Span } from "@plinth/kernel";
import { type ConcurrencyCap, createHedging, type Hedging, type RetryBudget, type Seat } from "@plinth/resilience";
import type { HedgingConfig } from "../config/schema-hedging.ts";
import type { ReplyHeaders } from "../headers/reply.ts";
import type { TryEnd } from "../upstream/outcomes.ts";
import type { Endpoint } from "../upstream/service-pool.ts";
import type { UpstreamCall, UpstreamFailure, UpstreamHandlers } from "../upstream/upstream.ts";
import type { Exchange } from "./exchange.ts";
import { idempotentMethods } from "./retry-policy.ts";
import type { Route } from "./route.ts";
import { endTry, sendTo, startTrySpan, type TryRequests } from "./try-request.ts";

/** When requests of a route are sent to another instance beside the first. */
export interface HedgingPolicy {
  /** Undefined: as long as most replies take. */
  readonly afterMs: number | undefined;
  readonly max: number;
  readonly hedging: Hedging;
  readonly budget: RetryBudget;
}

/** @param budget - Shared with the retries of all routes to the service. */
export function toHedgingPolicy(
  { afterMs, max }: HedgingConfig,
  { budget, clock }: { readonly budget: RetryBudget; readonly clock: Clock },
): HedgingPolicy {
  return { afterMs, max, hedging: createHedging({ budget, clock }), budget };
}

/** A try that is under way. */
export interface Try {
  readonly seat: Seat<Endpoint>;
  readonly span: Span;
  readonly sentAtMs: number;
  readonly call: UpstreamCall;
}

/** What hedges need of the forwarding that they stand beside. */
export interface Hedged extends UpstreamHandlers {
  readonly exchange: Exchange;
  readonly route: Route;
  /** Its own try is under way. */
  readonly isTrying: boolean;
  /** Seats that are in use for it, or have failed it. */
  readonly others: readonly Seat<Endpoint>[];
  tried(seat: Seat<Endpoint>): void;
  readonly requests: TryRequests;
  attempts: number;
  adopt(won: Try): void;
  giveUp(failure: UpstreamFailure): void;
}

/** The tries beside the first of one request. */
export class Hedges {
  readonly #owner: Hedged;
  readonly #policy: HedgingPolicy;
  readonly #open = new Set<Hedge>();
  readonly #beganAtMs: number;
  #sent = 0;
  #timer: Scheduled | undefined;

  /** @returns Undefined for a request that may not be sent twice. */
  static begin(owner: Hedged, policy: HedgingPolicy): Hedges | undefined {
    const { exchange, route } = owner;
    if (route.retries === undefined) policy.budget.deposit();
    if (!idempotentMethods.has(exchange.method) || exchange.upgrade) return undefined;
    const hedges = new Hedges(owner, policy);
    hedges.#arm();
    return hedges;
  }

  private constructor(owner: Hedged, policy: HedgingPolicy) {
    this.#owner = owner;
    this.#policy = policy;
    this.#beganAtMs = owner.exchange.core.clock.monotonicMs();
  }

  /** One of them may still answer. */
  get isOpen(): boolean {
    return this.#open.size > 0;
  }

  /** The client has its reply, or will have none: breaks off all of them. Safe to call twice. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#sent = Infinity;
    for (const hedge of this.#open) hedge.abort();
    this.#open.clear();
  }

  /** A good reply has begun: how long it took since the request was sent first, also where it is that of a hedge. */
  observe(): void {
    this.#policy.hedging.observe(this.#owner.exchange.core.clock.monotonicMs() - this.#beganAtMs);
  }

  /** Whether one, that is no good by itself, is to be left for another that may still be. */
  mayYield(hedge: Hedge): boolean {
    return this.#owner.isTrying || this.#open.size > (this.#open.has(hedge) ? 1 : 0);
  }

  /** The client gets the reply of this one. */
  won(hedge: Hedge): void {
    this.#open.delete(hedge);
    this.observe();
    this.close();
  }

  lost(hedge: Hedge, failure: UpstreamFailure | undefined): void {
    this.#open.delete(hedge);
    if (failure && !this.#owner.isTrying && this.#open.size === 0) this.#owner.giveUp(failure);
  }

  #arm(): void {
    const { exchange, route } = this.#owner;
    const { afterMs, hedging } = this.#policy;
    const { clock } = exchange.core;
    const remainingMs = route.deadlines ? exchange.expiresAtMs - clock.monotonicMs() : Infinity;
    const delayMs = afterMs ?? hedging.delayMs(remainingMs);
    if (delayMs !== undefined && delayMs < remainingMs)
      this.#timer = clock.schedule(delayMs, () => this.#send(), { keepAlive: false });
  }

  #send(): void {
    this.#timer = undefined;
    const { exchange, route } = this.#owner;
    try {
      if (exchange.isFinished || exchange.response.headersSent || !this.#canSend()) return;
      const cap = route.pool.busyCap();
      if (cap?.tryAcquire() === false) return;
      if (!this.#policy.hedging.take()) {
        cap?.release();
        return;
      }
      const hedge = new Hedge(this, this.#owner, cap);
      if (!hedge.send()) return;
      this.#open.add(hedge);
      if (++this.#sent < this.#policy.max) this.#arm();
    } catch (error) {
      exchange.fault(error);
    }
  }

  /** A body must have come whole: what still comes could go to one of them only. */
  #canSend(): boolean {
    const { exchange, route, isTrying, others } = this.#owner;
    const { body } = exchange;
    const isWhole = body === undefined || (body.started && body.again !== undefined);
    return isTrying && isWhole && route.pool.hasOther(others);
  }
}

/** One try beside the first: told what becomes of it, until the forwarding takes it for its own. */
class Hedge implements UpstreamHandlers {
  readonly #hedges: Hedges;
  readonly #owner: Hedged;
  /** It holds a place there. */
  #cap: ConcurrencyCap | undefined;
  #try: Try | undefined;
  #isAdopted = false;

  constructor(hedges: Hedges, owner: Hedged, cap: ConcurrencyCap | undefined) {
    this.#hedges = hedges;
    this.#owner = owner;
    this.#cap = cap;
  }

  /** @returns False when there is nobody to send it to. */
  send(): boolean {
    const { exchange, route, others } = this.#owner;
    const seat = route.pool.pick(others, undefined, route.name);
    if (!seat) {
      this.#leavePlace();
      return false;
    }
    this.#owner.tried(seat);
    const sentAtMs = exchange.core.clock.monotonicMs();
    const span = startTrySpan(exchange, route, seat.member);
    if (span.sampled) span.setAttribute("plinth.hedge", true);
    this.#owner.attempts++;
    const request = this.#owner.requests.beside(seat.member, span, sentAtMs);
    this.#try = { seat, span, sentAtMs, call: sendTo(seat.member, request, this, exchange) };
    return true;
  }

  abort(): void {
    const own = this.#try;
    this.#end("aborted", "lost");
    own?.call.abort();
  }

  onHead(status: number, headers: ReplyHeaders): void {
    const own = this.#try;
    if (!own) return;
    const { exchange, route } = this.#owner;
    try {
      if (status === 421 && own.seat.member.identity !== undefined) {
        own.call.abort();
        route.pool.misdirected(own.seat);
        this.onFailure({ kind: "misdirected", sent: true, reused: false, cause: undefined });
        return;
      }
      if (route.pool.failingStatuses.has(status) && this.#hedges.mayYield(this)) {
        this.#end("reply", "failed", true);
        own.call.abort();
        this.#hedges.lost(this, undefined);
        return;
      }
      this.#isAdopted = true;
      this.#try = undefined;
      this.#leavePlace(); // the request has one place, which its own try has left
      exchange.core.observer.hedged(route.pool.service, "won");
      this.#hedges.won(this);
      this.#owner.adopt(own);
      this.#owner.onHead(status, headers);
    } catch (error) {
      exchange.fault(error);
    }
  }

  onUpgrade(_headers: ReplyHeaders, socket: Duplex): void {
    socket.destroy(); // it was not asked for
  }

  onData(chunk: Buffer): boolean {
    return this.#isAdopted ? this.#owner.onData(chunk) : true;
  }

  onEnd(trailers: ReplyHeaders): void {
    if (this.#isAdopted) this.#owner.onEnd(trailers);
  }

  onFailure(failure: UpstreamFailure): void {
    if (this.#isAdopted) this.#owner.onFailure(failure);
    else if (this.#try) {
      try {
        this.#try.span.fail(failure.cause ?? new Error(`the try ended with ${failure.kind}`));
        this.#end(failure.kind, "failed");
        this.#hedges.lost(this, failure);
      } catch (error) {
        this.#owner.exchange.fault(error);
      }
    }
  }

  #end(end: TryEnd, outcome: "lost" | "failed", hasFailed = false): void {
    const own = this.#try;
    this.#try = undefined;
    this.#leavePlace();
    if (!own) return;
    endTry(this.#owner, own, { end, hasFailed, latencyMs: undefined });
    this.#owner.exchange.core.observer.hedged(this.#owner.route.pool.service, outcome);
  }

  #leavePlace(): void {
    this.#cap?.release();
    this.#cap = undefined;
  }
}
