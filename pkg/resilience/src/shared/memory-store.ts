import { type Clock, requireWhole, systemClock } from "@plinth/kernel";
import { createRateLimiter, type RateLimiter, type RateVerdict } from "../rate-limiter.ts";
import type { RateAsk, RateStore } from "./types.ts";

export interface MemoryRateStoreOptions {
  /** Keys remembered of each limit, 2 to 10_000_000; past that those used longest ago are full again. Default 100_000. */
  readonly maxKeys?: number | undefined;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock | undefined;
}

/** Of so many limits counts are kept; past that those of the one used longest ago are forgotten. */
const maxLimits = 10_000;

/**
 * Counts of rate limits in this process: for several processes that ask it, such as workers their primary. Answers are there at once.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 */
export function createMemoryRateStore({
  maxKeys = 100_000,
  clock = systemClock,
}: MemoryRateStoreOptions = {}): RateStore {
  requireWhole("maxKeys", maxKeys, { min: 2, max: 10_000_000 });
  return new MemoryRateStore(maxKeys, clock);
}

class MemoryRateStore implements RateStore {
  readonly name = "memory";
  readonly isReady = true;
  readonly lastError = undefined;
  readonly #maxKeys: number;
  readonly #clock: Clock;
  /** In the order of their last use. */
  readonly #limiters = new Map<string, RateLimiter>();

  constructor(maxKeys: number, clock: Clock) {
    this.#maxKeys = maxKeys;
    this.#clock = clock;
  }

  async take(ask: RateAsk): Promise<RateVerdict> {
    const limiter = this.#limiterOf(ask);
    if (ask.owed > 0) limiter.add(ask.key, ask.owed);
    return limiter.take(ask.key, ask.cost);
  }

  async giveBack(ask: RateAsk): Promise<void> {
    this.#limiterOf(ask).giveBack(ask.key, ask.cost);
  }

  async close(): Promise<void> {
    this.#limiters.clear();
  }

  #limiterOf({ name, limit, windowMs }: RateAsk): RateLimiter {
    const form = `${name}:${limit}:${windowMs}`;
    const limiter =
      this.#limiters.get(form) ?? createRateLimiter({ limit, windowMs, maxKeys: this.#maxKeys, clock: this.#clock });
    this.#limiters.delete(form);
    this.#limiters.set(form, limiter);
    const [oldest] = this.#limiters.size > maxLimits ? this.#limiters.keys() : [];
    if (oldest !== undefined) this.#limiters.delete(oldest);
    return limiter;
  }
}
