import { type Clock, requireNumber, requireWhole, systemClock } from "@plinth/kernel";
import { RollingCounts, slices } from "../rolling-counts.ts";

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

/**
 * A retry budget by a sliding window, in tenths that leave as a whole: in whatever window a retry is asked for, the retries in it
 * stay within the share of the requests in it. A retry never outlives the requests that paid for it, so that over any long
 * time retries add at most `ratio` to what would be sent without them, or `minRetries` for each window. What was not used of a calm
 * window cannot be spent all at once: the same holds for each tenth, of whose requests there are taken to be as many as in the mean.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @see Finagle, retry budgets: https://twitter.github.io/finagle/guide/Clients.html#retries
 * @see Site Reliability Engineering, handling overload: https://sre.google/sre-book/handling-overload/
 * @example
 * budget.deposit(); // a call begins
 * if (budget.withdraw()) retry();
 */
export function createRetryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  const { ratio = 0.2, minRetries = 3, windowMs = 10_000, clock = systemClock } = options;
  requireNumber("ratio", ratio, { min: 0, max: 1 });
  requireWhole("minRetries", minRetries, { min: 0 });
  requireNumber("windowMs", windowMs, { min: 10, max: 3_600_000 });
  return new WindowBudget(ratio, minRetries, windowMs, clock);
}

class WindowBudget implements RetryBudget {
  readonly ratio: number;
  readonly #minRetries: number;
  readonly #clock: Clock;
  readonly #sliceMs: number;
  readonly #startedAtMs: number;
  /** Requests first, retries second. */
  readonly #counts: RollingCounts;
  refused = 0;

  constructor(ratio: number, minRetries: number, windowMs: number, clock: Clock) {
    this.ratio = ratio;
    this.#minRetries = minRetries;
    this.#clock = clock;
    this.#sliceMs = windowMs / slices;
    this.#startedAtMs = clock.monotonicMs();
    this.#counts = new RollingCounts(windowMs, this.#startedAtMs);
  }

  get requests(): number {
    return this.#now().first;
  }

  get retries(): number {
    return this.#now().second;
  }

  get available(): number {
    const { first, second, newestFirst, newestSecond } = this.#now();
    const inWindow = this.#allowance(first) - second;
    // a window that is not full yet has its requests in fewer slices
    const begun = Math.min(slices, 1 + Math.floor((this.#clock.monotonicMs() - this.#startedAtMs) / this.#sliceMs));
    const inSlice = this.#allowance(Math.max(newestFirst, first / begun)) - newestSecond;
    return Math.max(0, Math.min(inWindow, inSlice));
  }

  deposit(): void {
    this.#now().addFirst();
  }

  withdraw(): boolean {
    if (this.available > 0) {
      this.#counts.addSecond();
      return true;
    }
    this.refused++;
    return false;
  }

  #allowance(requests: number): number {
    return Math.max(this.#minRetries, Math.floor(requests * this.ratio));
  }

  #now(): RollingCounts {
    this.#counts.advance(this.#clock.monotonicMs());
    return this.#counts;
  }
}
