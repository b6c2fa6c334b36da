import { requireNumber, requireWhole, withDefaults } from "./errors/option-error.ts";

/** How long {@link backoffDelayMs} waits between tries. */
export interface BackoffOptions {
  /** Ceiling of the first wait, in milliseconds, above 0. Default 100. */
  readonly baseDelayMs?: number;
  /** No ceiling grows past this, in milliseconds. `Infinity` never caps. Default 10_000. */
  readonly maxDelayMs?: number;
  /** Source of jitter in [0, 1). Tests pass a fixed one. Default `Math.random`. */
  readonly random?: () => number;
}

export const backoffDefaults: Required<BackoffOptions> = Object.freeze({
  baseDelayMs: 100,
  maxDelayMs: 10_000,
  random: Math.random,
});

/**
 * How long to wait before trying again: the ceiling doubles with each failure, with full jitter.
 *
 * @param attempt - Failures so far: a whole number, 1 or more.
 * @returns Whole milliseconds from 0 up to, not including, the ceiling for this attempt.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when `attempt` or a delay is out of range.
 * @see Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 * @example backoffDelayMs(3) // 0 to 399
 */
export function backoffDelayMs(attempt: number, options: BackoffOptions = {}): number {
  const { baseDelayMs, maxDelayMs, random } = withDefaults(backoffDefaults, options);
  requireWhole("attempt", attempt, { min: 1 });
  requireNumber("baseDelayMs", baseDelayMs, { min: Number.MIN_VALUE });
  requireNumber("maxDelayMs", maxDelayMs, { min: 0 });
  // never infinite: nothing could wait so long, and a jitter of 0 would make it NaN
  const ceilingMs = Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1), Number.MAX_SAFE_INTEGER);
  return Math.floor(random() * ceilingMs);
}
