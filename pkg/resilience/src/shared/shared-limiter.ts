import { type Clock, type Span, systemClock } from "@plinth/kernel";
import { createRateLimiter, type RateLimiter, type RateVerdict } from "../rate-limiter.ts";
import { RecentKeys } from "../recent-keys.ts";
import type { StoreGate } from "./store-gate.ts";
import type { OnStoreFailure, RateAsk, SharedRateLimiter, SharedRateVerdict } from "./types.ts";

export interface SharedRateLimiterOptions {
  /** Name of the limit: those of the same name count together, in all processes. */
  readonly name: string;
  /** How many may go in any stretch of time of the window's length, over all processes: 1 to 1_000_000. */
  readonly limit: number;
  /** Length of the window, in whole milliseconds, 1 to 86_400_000. */
  readonly windowMs: number;
  /** The way to the store. */
  readonly gate: StoreGate;
  /** What happens while the store does not answer. Default `localShare`. */
  readonly onStoreFailure?: OnStoreFailure | undefined;
  /** Live processes that share the limit: by `localShare` each lets the limit divided by it through, at least 1. Default: 1. */
  readonly processes?: (() => number) | undefined;
  /** Keys remembered while the store does not answer, 2 to 10_000_000. Default 100_000. */
  readonly maxKeys?: number | undefined;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock | undefined;
}

/**
 * A rate limiter whose counts several processes share in a store: at most `limit` in any stretch of `windowMs` over all of them.
 *
 * While the store does not answer, `localShare` counts here, by a share of the limit; whom the store has refused before waits as it was
 * told. What goes in that time is told to the store with the key's next question, so that nobody has a fresh limit when it is back. In
 * the window in which the store is lost, a caller may have the shares on top of what it had used; in the one in which it comes back,
 * those of processes that have not noticed yet.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 */
export function createSharedRateLimiter(options: SharedRateLimiterOptions): SharedRateLimiter {
  const { limit, windowMs, maxKeys, clock = systemClock } = options;
  return new StoreLimiter(options, createRateLimiter({ limit, windowMs, maxKeys: maxKeys ?? 100_000, clock }));
}

class StoreLimiter implements SharedRateLimiter {
  readonly limit: number;
  readonly windowMs: number;
  readonly local: RateLimiter;
  readonly #name: string;
  readonly #gate: StoreGate;
  readonly #onStoreFailure: OnStoreFailure;
  readonly #processes: () => number;
  readonly #clock: Clock;
  /** Until when the store has refused a key: a late answer lets nobody through whom it would refuse again. */
  readonly #refused: RecentKeys<number>;
  /** Keys whose uses are on their way to the store. */
  readonly #telling = new Set<string>();

  constructor(options: SharedRateLimiterOptions, local: RateLimiter) {
    this.limit = options.limit;
    this.windowMs = options.windowMs;
    this.local = local;
    this.#name = options.name;
    this.#gate = options.gate;
    this.#onStoreFailure = options.onStoreFailure ?? "localShare";
    this.#processes = options.processes ?? (() => 1);
    this.#clock = options.clock ?? systemClock;
    this.#refused = new RecentKeys(options.windowMs, options.maxKeys ?? 100_000);
  }

  async take(key: string, cost = 1, span?: Span): Promise<SharedRateVerdict> {
    const owed = this.#owedBy(key);
    if (owed > 0) this.#telling.add(key);
    const ask = this.#ask(key, cost, owed);
    const verdict = await this.#gate.ask((store) => store.take(ask, span));
    if (owed > 0) this.#telling.delete(key);
    if (!verdict) return this.#without(key, cost);
    if (owed > 0) this.local.forget(key);
    if (!verdict.allowed && verdict.remaining === 0)
      this.#refused.set(key, this.#clock.monotonicMs() + verdict.retryAfterMs);
    return { ...verdict, by: "store" };
  }

  giveBack(key: string, cost: number, { allowed, by }: SharedRateVerdict): void {
    if (!allowed || by !== "store") return;
    void this.#gate.ask((store) => store.giveBack(this.#ask(key, cost, 0)).then(() => true));
  }

  #ask(key: string, cost: number, owed: number): RateAsk {
    const { limit, windowMs } = this;
    return { name: this.#name, key, limit, windowMs, cost, owed };
  }

  /** What went without the store and has not left the window. It is told once; where no answer came, again: twice is on the safe side. */
  #owedBy(key: string): number {
    return this.local.keys === 0 || this.#telling.has(key) ? 0 : this.local.used(key);
  }

  #without(key: string, cost: number): SharedRateVerdict {
    const { limit, windowMs } = this;
    if (this.#onStoreFailure === "open") return { ...untouched(limit), by: "nobody" };
    if (this.#onStoreFailure === "closed")
      return { allowed: false, remaining: 0, retryAfterMs: 1_000, resetMs: windowMs, by: "nobody" };
    const nowMs = this.#clock.monotonicMs();
    const untilMs = this.#refused.get(key, nowMs) ?? 0;
    if (untilMs > nowMs) {
      const retryAfterMs = Math.ceil(untilMs - nowMs);
      return { allowed: false, remaining: 0, retryAfterMs, resetMs: windowMs, by: "share" };
    }
    const share = Math.max(1, Math.floor(limit / Math.max(1, this.#processes())));
    return { ...this.local.take(key, Math.min(cost, share), share), by: "share" };
  }
}

function untouched(limit: number): RateVerdict {
  return { allowed: true, remaining: limit, retryAfterMs: 0, resetMs: 0 };
}
