import { type Clock, requireWhole, systemClock } from "@plinth/kernel";
import { RecentKeys } from "./recent-keys.ts";

/** A limit of its own for each key. */
export interface RateLimiterOptions {
  /** How many may go in any stretch of time of the window's length, at once or spread: 1 to 1_000_000. */
  readonly limit: number;
  /** Length of the window, in whole milliseconds, 1 to 86_400_000. */
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
 * A rate limiter by a sliding window: at most `limit` in any stretch of `windowMs`, whenever it begins. Uses are counted by slices
 * of a twentieth of the window, so what was used comes back after one window and at most one slice more. No timers, no background work.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @example
 * const limiter = createRateLimiter({ limit: 50, windowMs: 10_000 });
 * if (!limiter.take(subject).allowed) throw tooMany;
 */
export function createRateLimiter(options: RateLimiterOptions): RateLimiter {
  const { limit, windowMs, maxKeys = 100_000, clock = systemClock } = options;
  requireWhole("limit", limit, { min: 1, max: 1_000_000 });
  requireWhole("windowMs", windowMs, { min: 1, max: 86_400_000 });
  requireWhole("maxKeys", maxKeys, { min: 2, max: 10_000_000 });
  return new SlidingWindowLimiter(limit, windowMs, maxKeys, clock);
}

const slicesInWindow = 20;

/** What one key has used: a ring of counts, one for each slice that lies wholly or partly within the last window. */
class Uses {
  readonly counts: Uint32Array;
  /** Number of the slice that was looked at last, counted from the limiter's birth. */
  newest: number;
  total = 0;

  constructor(slices: number, slice: number) {
    this.counts = new Uint32Array(slices);
    this.newest = slice;
  }

  /** Forgets the slices that have left the window by the time of `slice`. */
  advance(slice: number): void {
    const { counts } = this;
    const past = Math.min(slice - this.newest, counts.length);
    for (let step = 1; step <= past; step++) {
      const index = (this.newest + step) % counts.length;
      this.total -= counts[index] ?? 0;
      counts[index] = 0;
    }
    this.newest = slice;
  }

  add(): void {
    const index = this.newest % this.counts.length;
    this.counts[index] = (this.counts[index] ?? 0) + 1;
    this.total++;
  }

  /** The oldest slice in which something was used. Call it only when something was. */
  oldest(): number {
    const { counts, newest } = this;
    let slice = newest - counts.length + 1;
    while (slice < newest && (slice < 0 || counts[slice % counts.length] === 0)) slice++;
    return slice;
  }

  /** The latest slice in which something was used. Call it only when something was. */
  latest(): number {
    const { counts, newest } = this;
    let slice = newest;
    while (slice > 0 && counts[slice % counts.length] === 0) slice--;
    return slice;
  }
}

class SlidingWindowLimiter implements RateLimiter {
  readonly limit: number;
  readonly windowMs: number;
  readonly #clock: Clock;
  readonly #bornAtMs: number;
  readonly #sliceMs: number;
  /** Slices that together cover a window, wherever in the newest one the present lies. */
  readonly #slices: number;
  readonly #uses: RecentKeys<Uses>;

  constructor(limit: number, windowMs: number, maxKeys: number, clock: Clock) {
    this.limit = limit;
    this.windowMs = windowMs;
    this.#clock = clock;
    this.#bornAtMs = clock.monotonicMs();
    this.#sliceMs = Math.ceil(windowMs / slicesInWindow);
    this.#slices = Math.ceil(windowMs / this.#sliceMs) + 1;
    this.#uses = new RecentKeys(this.#sliceMs * this.#slices, maxKeys);
  }

  get keys(): number {
    return this.#uses.size;
  }

  get forgotten(): number {
    return this.#uses.forgotten;
  }

  take(key: string): RateVerdict {
    const { limit } = this;
    const nowMs = Math.floor(this.#clock.monotonicMs() - this.#bornAtMs);
    const slice = Math.floor(nowMs / this.#sliceMs);
    const uses = this.#uses.get(key, nowMs) ?? new Uses(this.#slices, slice);
    uses.advance(slice);
    if (uses.total >= limit) {
      const retryAfterMs = this.#leavesAtMs(uses.oldest()) - nowMs;
      return { allowed: false, remaining: 0, retryAfterMs, resetMs: this.#leavesAtMs(uses.latest()) - nowMs };
    }
    uses.add();
    this.#uses.set(key, uses);
    return { allowed: true, remaining: limit - uses.total, retryAfterMs: 0, resetMs: this.#leavesAtMs(slice) - nowMs };
  }

  /** When what was used in `slice` no longer counts. */
  #leavesAtMs(slice: number): number {
    return (slice + this.#slices) * this.#sliceMs;
  }
}
