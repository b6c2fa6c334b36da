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
  /** Shared by all calls of one client. Default: none, which only tests should do. */
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
