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
  /** How long until as many may go as were asked for, in whole milliseconds; 0 when `allowed`. */
  readonly retryAfterMs: number;
  /** How long until the key is full again if nothing is taken, in whole milliseconds. */
  readonly resetMs: number;
}

export interface RateLimiter {
  readonly limit: number;
  readonly windowMs: number;
  /**
   * Takes `cost` of `key`'s, if there are so many; else takes nothing.
   * @param cost - How many at once: 1 to `limit`. Default 1.
   * @param within - A lower limit for this call alone, `cost` to `limit`. Default `limit`.
   * @throws {@link OptionError} `ERR_OPTION_RANGE` when `cost` is out of range.
   */
  take(key: string, cost?: number, within?: number): RateVerdict;
  /** What `take` would say, with `remaining` as it is now. Takes nothing. */
  peek(key: string, cost?: number): RateVerdict;
  /** What `key` has used within the last window. */
  used(key: string): number;
  /** Gives back what was taken for something that did not go after all: the latest uses first, and no more than there are. */
  giveBack(key: string, cost: number): void;
  /** Counts `cost` as used now, beyond the limit as well. */
  add(key: string, cost: number): void;
  /** Makes `key` full again. */
  forget(key: string): void;
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

/** Length of the slices that uses are counted by, in whole milliseconds; the last one may reach beyond the window. */
export function sliceMsOf(windowMs: number): number {
  return Math.ceil(windowMs / slicesInWindow);
}

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

  add(nowMs: number, cost: number): void {
    const index = this.#newest % this.#counts.length;
    this.#counts[index] = (this.#counts[index] ?? 0) + cost;
    this.#lastMs[index] = nowMs;
    this.total += cost;
  }

  /** Of the latest slices. */
  giveBack(cost: number): void {
    const slices = this.#counts.length;
    let left = cost;
    for (let step = 0; step < slices && left > 0; step++) {
      const index = (this.#newest + slices - step) % slices;
      const count = this.#counts[index] ?? 0;
      const given = Math.min(count, left);
      this.#counts[index] = count - given;
      this.total -= given;
      left -= given;
    }
  }

  /** When so much was last used, and no less, that without it `wanted` fewer count. Call it when at least as much counts. */
  lastUseOf(wanted: number): number {
    const slices = this.#counts.length;
    let left = wanted;
    let lastMs = 0;
    for (let step = 1; step <= slices && left > 0; step++) {
      const index = (this.#newest + step) % slices; // from the oldest on
      const count = this.#counts[index] ?? 0;
      if (count === 0) continue;
      left -= count;
      lastMs = this.#lastMs[index] ?? 0;
    }
    return lastMs;
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
    this.#sliceMs = sliceMsOf(windowMs);
    this.#slices = Math.ceil(windowMs / this.#sliceMs) + 1;
    this.#uses = new RecentKeys(this.#sliceMs * this.#slices, maxKeys);
  }

  get keys(): number {
    return this.#uses.size;
  }

  get forgotten(): number {
    return this.#uses.forgotten;
  }

  take(key: string, cost = 1, within = this.limit): RateVerdict {
    return this.#ask(key, cost, within, true);
  }

  peek(key: string, cost = 1): RateVerdict {
    return this.#ask(key, cost, this.limit, false);
  }

  used(key: string): number {
    return this.limit - this.#ask(key, 1, this.limit, false).remaining;
  }

  giveBack(key: string, cost: number): void {
    this.#uses.get(key, this.#nowMs())?.giveBack(cost);
  }

  add(key: string, cost: number): void {
    const nowMs = this.#nowMs();
    const uses = this.#usesOf(key, nowMs) ?? new Uses(this.#slices, this.#sliceAt(nowMs));
    uses.add(nowMs, cost);
    this.#uses.set(key, uses);
  }

  forget(key: string): void {
    this.#uses.delete(key);
  }

  #nowMs(): number {
    return Math.floor(this.#clock.monotonicMs() - this.#bornAtMs);
  }

  #sliceAt(nowMs: number): number {
    return Math.floor(nowMs / this.#sliceMs);
  }

  #usesOf(key: string, nowMs: number): Uses | undefined {
    const known = this.#uses.get(key, nowMs);
    known?.advance(this.#sliceAt(nowMs), nowMs, this.windowMs);
    return known;
  }

  #ask(key: string, cost: number, limit: number, mayTake: boolean): RateVerdict {
    const { windowMs } = this;
    if (cost !== 1) requireWhole("cost", cost, { min: 1, max: limit });
    const nowMs = this.#nowMs();
    const known = this.#usesOf(key, nowMs);
    const total = known?.total ?? 0;
    if (total + cost > limit && known) {
      return {
        allowed: false,
        remaining: Math.max(0, limit - total),
        retryAfterMs: known.lastUseOf(total + cost - limit) + windowMs - nowMs,
        resetMs: known.lastUseOf(total) + windowMs - nowMs,
      };
    }
    if (!mayTake) {
      const resetMs = known && total > 0 ? known.lastUseOf(total) + windowMs - nowMs : 0;
      return { allowed: true, remaining: limit - total, retryAfterMs: 0, resetMs };
    }
    const uses = known ?? new Uses(this.#slices, this.#sliceAt(nowMs));
    uses.add(nowMs, cost);
    this.#uses.set(key, uses);
    return { allowed: true, remaining: limit - uses.total, retryAfterMs: 0, resetMs: windowMs };
  }
}
