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
 * of a twentieth of the window, and those of one slice come back together, one window after the last of them. No timers, no background work.
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

/** What one key has used: a ring of slices that lie wholly or partly within the last window. */
class Uses {
  readonly #counts: Uint32Array;
  /** When each slice was last used, in milliseconds. Its uses leave the window together, one window after the last of them. */
  readonly #lastMs: Float64Array;
  /** Number of the slice that was looked at last, counted from the limiter's birth. */
  #newest: number;
  total = 0;

  constructor(slices: number, slice: number) {
    this.#counts = new Uint32Array(slices);
    this.#lastMs = new Float64Array(slices);
    this.#newest = slice;
  }

  /** Forgets what has left the window. */
  advance(slice: number, nowMs: number, windowMs: number): void {
    const slices = this.#counts.length;
    const past = Math.min(slice - this.#newest, slices);
    for (let step = 1; step <= past; step++) this.#forget((this.#newest + step) % slices);
    this.#newest = slice;
    for (let step = 1; step < slices; step++) {
      const index = (slice + step) % slices; // from the oldest on
      if ((this.#counts[index] ?? 0) === 0) continue;
      if ((this.#lastMs[index] ?? 0) + windowMs > nowMs) return;
      this.#forget(index);
    }
  }

  add(nowMs: number): void {
    const index = this.#newest % this.#counts.length;
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#lastMs[index] = nowMs;
    this.total++;
  }

  /** When the oldest slice that counts was last used, and when the latest was. Call it only when something counts. */
  range(): { readonly oldestMs: number; readonly latestMs: number } {
    const times = this.#lastMs.filter((_, index) => (this.#counts[index] ?? 0) > 0);
    return { oldestMs: Math.min(...times), latestMs: Math.max(...times) };
  }

  #forget(index: number): void {
    this.total -= this.#counts[index] ?? 0;
    this.#counts[index] = 0;
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
    const { limit, windowMs } = this;
    const nowMs = Math.floor(this.#clock.monotonicMs() - this.#bornAtMs);
    const slice = Math.floor(nowMs / this.#sliceMs);
    const uses = this.#uses.get(key, nowMs) ?? new Uses(this.#slices, slice);
    uses.advance(slice, nowMs, windowMs);
    if (uses.total >= limit) {
      const { oldestMs, latestMs } = uses.range();
      return {
        allowed: false,
        remaining: 0,
        retryAfterMs: oldestMs + windowMs - nowMs,
        resetMs: latestMs + windowMs - nowMs,
      };
    }
    uses.add(nowMs);
    this.#uses.set(key, uses);
    return { allowed: true, remaining: limit - uses.total, retryAfterMs: 0, resetMs: windowMs };
  }
}
