import type { Clock } from "@plinth/kernel";

export interface RetryBudgetOptions {
  /** Retries by requests, 0 to 1. Default 0.2. */
  readonly ratio?: number | undefined;
  /** So many retries are allowed in a window however few requests there are: a whole number from 0. Default 3. */
  readonly minRetries?: number | undefined;
  /** How long a request counts, in milliseconds from 10 to 3_600_000. Default 10_000. */
  readonly windowMs?: number | undefined;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock | undefined;
}

/**
 * How much of a client's traffic may be repeated: within any window the retries and hedges are at most `ratio` of the
 * requests, or `minRetries` where that is more.
 */
export interface RetryBudget {
  readonly ratio: number;
  /** Counts a request: the first attempt of a call. */
  deposit(): void;
  /** Takes one retry or hedge, if there is one. */
  withdraw(): boolean;
  /** Requests within the window now. */
  readonly requests: number;
  /** Retries and hedges within the window now. */
  readonly retries: number;
  /** How many more could be had now. */
  readonly available: number;
  /** Asked for and not given, since the start. */
  readonly refused: number;
}
