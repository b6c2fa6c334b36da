import type { Span } from "@plinth/kernel";
import type { RateLimiter, RateVerdict } from "../rate-limiter.ts";

/** What a store is asked to count. */
export interface RateAsk {
  /** Name of the limit: what has another name counts apart. */
  readonly name: string;
  readonly key: string;
  readonly limit: number;
  /** Length of the window, in whole milliseconds; with another one it counts anew. */
  readonly windowMs: number;
  /** How many are taken at once: 1 to `limit`. */
  readonly cost: number;
  /** Taken before without the store, which counts it as taken now, whatever comes of this. */
  readonly owed: number;
}

/** Where several processes count together. It keeps the promise of {@link RateLimiter}: at most `limit` in any stretch of the window. */
export interface RateStore {
  /** For the log: what it is and where, without secrets. */
  readonly name: string;
  /** Whether asking is of use right now. */
  readonly isReady: boolean;
  /** Why it was not, last. */
  readonly lastError: unknown;
  /** Takes `cost`, if there is so much. One question to the store, on its time. Rejects where there is no answer. */
  take(ask: RateAsk, span?: Span): Promise<RateVerdict>;
  /** Gives back what was taken for something that did not go after all. */
  giveBack(ask: RateAsk, span?: Span): Promise<void>;
  /** Safe to call twice. */
  close(): Promise<void>;
}

/**
 * What happens to who asks while the store does not answer:
 * - `open`: everything goes, and nothing is counted
 * - `closed`: nothing goes
 * - `localShare`: this process counts alone, by its share of the limit
 */
export type OnStoreFailure = "open" | "closed" | "localShare";

export interface SharedRateVerdict extends RateVerdict {
  /** Who decided: the store, this process by its share, or nobody, since the store does not answer. */
  readonly by: "store" | "share" | "nobody";
}

/** One limit that several processes count together. */
export interface SharedRateLimiter {
  readonly limit: number;
  readonly windowMs: number;
  /** Counts what goes while the store does not answer. */
  readonly local: RateLimiter;
  /**
   * Never rejects, and takes no longer than the deadline of the store.
   * @param cost - 1 to `limit`. Default 1.
   * @param span - Of the request: the question to the store stands below it where it is sampled.
   */
  take(key: string, cost?: number, span?: Span): Promise<SharedRateVerdict>;
  /** Gives back what `verdict` took for something that did not go after all. Where the store does not answer it is lost for a window. */
  giveBack(key: string, cost: number, verdict: SharedRateVerdict): void;
}
