import { backoffDelayMs, requireNumber, requireWhole, withDefaults } from "@plinth/kernel";
import type { RetryBudget } from "./budget.ts";

/** What is known of a call whose latest attempt has failed. */
export interface FailedAttempt {
  /** Attempts so far, this one included: 1 or more. */
  readonly attempts: number;
  /** Surely nothing of it has reached the far side: then sending it again repeats nothing. */
  readonly isUnsent: boolean;
  /** Whether doing the call twice is the same as doing it once. The contract says so; when it says nothing, it is not. */
  readonly isIdempotent: boolean;
  /** Whether the failure says that another try may help, as `AppError.retryable` does. */
  readonly isRetryable: boolean;
  /** Whether a byte or a message of the reply has been handed on. */
  readonly hasReplyBegun: boolean;
  /** Whether somebody broke the call off: its caller, or the far side because its own caller has gone. */
  readonly isCancelled: boolean;
  /** How long the caller still waits, in milliseconds; `Infinity` when it does not say. */
  readonly remainingMs: number;
  /** How long the far side asks to be left alone, in milliseconds, by {@link parseRetryAfterMs}. Default: it does not ask. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * Why there is no other attempt:
 * - `not_retryable`: it could do harm, or would not help
 * - `attempts`: there were as many as there may be
 * - `deadline`: the caller would be gone before
 * - `retry_after`: the far side asks for more time than `maxRetryAfterMs`
 * - `budget`: too many calls of this client are being retried already
 */
export type NoRetryReason = "not_retryable" | "attempts" | "deadline" | "retry_after" | "budget";

export type RetryVerdict =
  | {
      readonly retry: true;
      /** Wait so long before the next attempt, in whole milliseconds. */ readonly delayMs: number;
    }
  | { readonly retry: false; readonly reason: NoRetryReason };

export interface RetryOptions {
  /** Attempts for each call, the first included: 1 (never again) to 10. Default 3. */
  readonly maxAttempts?: number | undefined;
  /** Ceiling of the wait before the second attempt, in milliseconds, above 0; it doubles with each. Default 25. */
  readonly baseDelayMs?: number | undefined;
  /** No ceiling grows past this, in milliseconds. Default 250. */
  readonly maxDelayMs?: number | undefined;
  /** Where the far side asks for longer than this, in milliseconds, it is not tried again. Default 10_000. */
  readonly maxRetryAfterMs?: number | undefined;
  /** No attempt begins with less time left than this, in milliseconds from 0. Default 10. */
  readonly minAttemptMs?: number | undefined;
  /** Shared by all calls of one client. Default: none. */
  readonly budget?: RetryBudget | undefined;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** Decides whether a call is tried again, and when. */
export interface Retries {
  readonly maxAttempts: number;
  /** A call has begun: it adds to the budget. Once for each call, whatever becomes of it. */
  begin(): void;
  /** Takes from the budget when it says yes: then the attempt is to be made. */
  next(failed: FailedAttempt): RetryVerdict;
}

/** As long as it does no harm, and may help. */
type Retried = Pick<FailedAttempt, "isUnsent" | "isIdempotent" | "isRetryable" | "hasReplyBegun" | "isCancelled">;

/**
 * Whether a call may be tried again at all: nothing of the reply was handed on, nobody broke it off, another try may help, and
 * either nothing was sent or sending it twice is the same as once.
 *
 * @example isRetryable({ isUnsent: false, isIdempotent: false, isRetryable: true, hasReplyBegun: false, isCancelled: false }) // false
 */
export function isRetryable(failed: Retried): boolean {
  if (failed.hasReplyBegun || failed.isCancelled || !failed.isRetryable) return false;
  return failed.isUnsent || failed.isIdempotent;
}

/** How long {@link retryDelayMs} waits. */
export type RetryDelayOptions = Pick<RetryOptions, "baseDelayMs" | "maxDelayMs" | "random"> & {
  /**
   * What the far side asks for, in milliseconds: the wait begins after it and may be a tenth of it at least, so that not all callers come at
   * once. Default 0.
   */
  readonly retryAfterMs?: number | undefined;
};

const defaults: { readonly [K in keyof RetryDelayOptions]-?: NonNullable<RetryDelayOptions[K]> } = Object.freeze({
  baseDelayMs: 25,
  maxDelayMs: 250,
  retryAfterMs: 0,
  random: Math.random,
});

/**
 * How long to wait before the next attempt: anything from nothing to a ceiling that doubles with each attempt, after what the far
 * side asks for.
 *
 * @param attempts - Attempts so far: a whole number, 1 or more.
 * @returns Whole milliseconds.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when `attempts` or an option is out of range.
 * @see Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 * @example retryDelayMs(2) // 0 to 49
 */
export function retryDelayMs(attempts: number, options: RetryDelayOptions = {}): number {
  const { baseDelayMs, maxDelayMs, retryAfterMs, random } = withDefaults(defaults, options);
  requireNumber("retryAfterMs", retryAfterMs, { min: 0 });
  return (
    Math.ceil(retryAfterMs) + backoffDelayMs(attempts, { ...spread({ baseDelayMs, maxDelayMs }, retryAfterMs), random })
  );
}

interface Waits {
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
}

/** Many are told the same moment to come back: the waits that follow it are of a tenth of it at least, or all would come in one. */
function spread({ baseDelayMs, maxDelayMs }: Waits, retryAfterMs: number): Waits {
  const leastMs = retryAfterMs / 10;
  return { baseDelayMs: Math.max(baseDelayMs, leastMs), maxDelayMs: Math.max(maxDelayMs, leastMs) };
}

/**
 * How long one attempt may take: what the caller still waits, less what the way back takes.
 *
 * @param remainingMs - How long the caller still waits; `Infinity` when it does not say.
 * @param options.marginMs - Kept back for the way to the caller, in milliseconds from 0. Default 5.
 * @param options.maxMs - No attempt takes longer, so that there is time for another. Default `Infinity`.
 * @returns Whole milliseconds, `Infinity`, or 0: nothing is to be sent.
 * @example attemptTimeoutMs(300) // 295
 */
export function attemptTimeoutMs(
  remainingMs: number,
  options: { readonly marginMs?: number | undefined; readonly maxMs?: number | undefined } = {},
): number {
  const { marginMs = 5, maxMs = Infinity } = options;
  return Math.max(0, Math.floor(Math.min(maxMs, remainingMs - marginMs)));
}

/**
 * The retries of one client: what may be tried again is, after a wait, as often as allowed, while the caller waits and the budget
 * lasts. An attempt that was not sent is followed by the next one at once the first time, for it loaded nobody.
 *
 * A call that is given up has been tried as often as is good: hand its error on as not retryable, so that no layer above tries
 * all of it again. Otherwise three layers with three attempts each make twenty-seven.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @example
 * retries.begin();
 * const verdict = retries.next({ attempts: 1, isUnsent: true, … });
 * if (verdict.retry) await sleep(clock, verdict.delayMs, { signal });
 */
export function createRetries(options: RetryOptions = {}): Retries {
  const { maxAttempts = 3, maxRetryAfterMs = 10_000, minAttemptMs = 10, budget } = options;
  const { baseDelayMs, maxDelayMs, random } = withDefaults(defaults, options);
  requireWhole("maxAttempts", maxAttempts, { min: 1, max: 10 });
  requireNumber("baseDelayMs", baseDelayMs, { min: Number.MIN_VALUE });
  requireNumber("maxDelayMs", maxDelayMs, { min: 0 });
  requireNumber("maxRetryAfterMs", maxRetryAfterMs, { min: 0 });
  requireNumber("minAttemptMs", minAttemptMs, { min: 0 });
  return {
    maxAttempts,
    begin: () => budget?.deposit(),
    next(failed) {
      const { attempts, remainingMs, retryAfterMs = 0 } = failed;
      if (!isRetryable(failed)) return refusals.not_retryable;
      if (attempts >= maxAttempts) return refusals.attempts;
      if (retryAfterMs > maxRetryAfterMs) return refusals.retry_after;
      const spareMs = remainingMs - minAttemptMs - Math.ceil(retryAfterMs);
      if (!(spareMs >= 0)) return refusals.deadline;
      if (budget && !budget.withdraw()) return refusals.budget;
      const isAtOnce = failed.isUnsent && attempts === 1 && retryAfterMs === 0;
      const waits = spread({ baseDelayMs, maxDelayMs }, retryAfterMs);
      const ownMs = isAtOnce
        ? 0
        : backoffDelayMs(attempts, { ...waits, maxDelayMs: Math.min(waits.maxDelayMs, spareMs), random });
      return { retry: true, delayMs: Math.ceil(retryAfterMs) + ownMs };
    },
  };
}

const refusal = (reason: NoRetryReason): RetryVerdict => Object.freeze({ retry: false, reason });

const refusals: Readonly<Record<NoRetryReason, RetryVerdict>> = {
  not_retryable: refusal("not_retryable"),
  attempts: refusal("attempts"),
  deadline: refusal("deadline"),
  retry_after: refusal("retry_after"),
  budget: refusal("budget"),
};
