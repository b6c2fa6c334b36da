import { type Clock, requireWhole, systemClock } from "@plinth/kernel";
import { RecentKeys } from "./recent-keys.ts";

/** A limit of its own for each key, refilled evenly. */
export interface RateLimiterOptions {
  /** How many may go at once, and how many are refilled in each window: 1 to 1_000_000. */
  readonly limit: number;
  /** Time in which a used-up key is full again, in whole milliseconds, 1 to 86_400_000. */
  readonly windowMs: number;
  /**
   * Keys remembered, 2 to 10_000_000; past that the ones used longest ago are forgotten, and are full again. Default 100_000.
   * Keys at rest cost nothing: what was not used for a window is forgotten anyway, since it is full.
   */
  readonly maxKeys?: number;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock;
}

export interface RateVerdict {
  readonly allowed: boolean;
  /** How many more may go right now. */
  readonly remaining: number;
  /** How long until one may go, in whole milliseconds; 0 when `allowed`. */
  readonly retryAfterMs: number;
  /** How long until the key is full again if nothing is taken, in whole milliseconds. */
  readonly resetMs: number;
}

export interface RateLimiter {
  readonly limit: number;
  readonly windowMs: number;
  /** Takes one of `key`'s, if there is one. */
  take(key: string): RateVerdict;
  /** Keys remembered now. */
  readonly keys: number;
  /** Keys forgotten too early because there were more than `maxKeys`, since the start. */
  readonly forgotten: number;
}

/**
 * A rate limiter by the generic cell rate algorithm: one number for each key, no timers, no background work.
 * A full key lets `limit` through at once, then one each `windowMs / limit`; so no stretch of time of length t sees more
 * than `limit + t / (windowMs / limit)`.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @see https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
 * @example
 * const limiter = createRateLimiter({ limit: 50, windowMs: 10_000 });
 * if (!limiter.take(subject).allowed) throw tooMany;
 */
export function createRateLimiter(options: RateLimiterOptions): RateLimiter {
  const { limit, windowMs, maxKeys = 100_000, clock = systemClock } = options;
  requireWhole("limit", limit, { min: 1, max: 1_000_000 });
  requireWhole("windowMs", windowMs, { min: 1, max: 86_400_000 });
  requireWhole("maxKeys", maxKeys, { min: 2, max: 10_000_000 });
  return new GcraLimiter(limit, windowMs, maxKeys, clock);
}

/**
 * Time is counted in units of 1/limit ms, so that one request weighs the whole number `windowMs` and no rounding can
 * let one too many or too few through.
 */
class GcraLimiter implements RateLimiter {
  readonly limit: number;
  readonly windowMs: number;
  readonly #clock: Clock;
  readonly #bornAtMs: number;
  /** For each key the moment, in units, at which it is full again. */
  readonly #fullAt: RecentKeys<number>;

  constructor(limit: number, windowMs: number, maxKeys: number, clock: Clock) {
    this.limit = limit;
    this.windowMs = windowMs;
    this.#clock = clock;
    this.#bornAtMs = clock.monotonicMs();
    this.#fullAt = new RecentKeys(windowMs, maxKeys);
  }

  get keys(): number {
    return this.#fullAt.size;
  }

  get forgotten(): number {
    return this.#fullAt.forgotten;
  }

  take(key: string): RateVerdict {
    const { limit, windowMs } = this;
    const nowMs = Math.floor(this.#clock.monotonicMs() - this.#bornAtMs);
    const now = nowMs * limit;
    const burst = windowMs * limit;
    const usedUntil = Math.max(this.#fullAt.get(key, nowMs) ?? 0, now);
    const next = usedUntil + windowMs;
    if (next - now > burst) {
      return {
        allowed: false,
        remaining: 0,
        retryAfterMs: Math.ceil((next - burst - now) / limit),
        resetMs: Math.ceil((usedUntil - now) / limit),
      };
    }
    this.#fullAt.set(key, next);
    return {
      allowed: true,
      remaining: Math.floor((burst - (next - now)) / windowMs),
      retryAfterMs: 0,
      resetMs: Math.ceil((next - now) / limit),
    };
  }
}
