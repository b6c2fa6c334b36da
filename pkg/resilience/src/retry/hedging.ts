import { type Clock, requireNumber, requireWhole, systemClock } from "@plinth/kernel";
import type { RetryBudget } from "./budget.ts";
import { RecentLatencies } from "./recent-latencies.ts";

export interface HedgingOptions {
  /** A second attempt is sent when the first takes longer than this share of the latest calls did: 0.5 to 0.999. Default 0.95. */
  readonly quantile?: number | undefined;
  /** Never sooner than this, in milliseconds from 0. Default 5. */
  readonly minDelayMs?: number | undefined;
  /** Calls that must have been seen within the window before any is hedged: 1 or more. Default 50. */
  readonly minCalls?: number | undefined;
  /** How long a call counts at least, in milliseconds; at most twice as long. Default 30_000. */
  readonly windowMs?: number | undefined;
  /** The same as the client's retries have: a hedge is one of them. Default: none, which only tests should do. */
  readonly budget?: RetryBudget | undefined;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock | undefined;
}

/** When a second attempt of one idempotent method is sent beside a slow first one. */
export interface Hedging {
  /** How long a call took to be answered. Those that failed or were broken off are not told. */
  observe(latencyMs: number): void;
  /**
   * How long to wait for the first attempt before a second one is sent, in milliseconds.
   * @param remainingMs - How long the caller still waits.
   * @returns Undefined: no hedge for this call, since too little is known or the caller would be gone.
   */
  delayMs(remainingMs: number): number | undefined;
  /** Call it when the delay is over and there is no reply: whether the second attempt may be sent. */
  take(): boolean;
}

/**
 * Hedging by what calls usually take: a second attempt for the slowest few, so that a method adds at most about one minus the
 * quantile to its load, and never more than the budget. For idempotent methods only; take the first good reply and cancel the other.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @see Dean and Barroso, The Tail at Scale: https://research.google/pubs/the-tail-at-scale/
 * @example
 * const waitMs = hedging.delayMs(remainingMs);
 * // no reply after waitMs, which is not undefined:
 * if (hedging.take()) sendToAnother();
 */
export function createHedging(options: HedgingOptions = {}): Hedging {
  const { quantile = 0.95, minDelayMs = 5, minCalls = 50, windowMs = 30_000, budget, clock = systemClock } = options;
  requireNumber("quantile", quantile, { min: 0.5, max: 0.999 });
  requireNumber("minDelayMs", minDelayMs, { min: 0 });
  requireWhole("minCalls", minCalls, { min: 1 });
  requireNumber("windowMs", windowMs, { min: 10, max: 3_600_000 });
  const latencies = new RecentLatencies(windowMs, clock.monotonicMs());
  return {
    observe: (latencyMs) => latencies.add(latencyMs, clock.monotonicMs()),
    delayMs(remainingMs) {
      const usualMs = latencies.quantile(quantile, minCalls, clock.monotonicMs());
      if (usualMs === undefined) return undefined;
      const delayMs = Math.max(minDelayMs, usualMs);
      // the second attempt takes about as long as most do: with less left it could not be in time
      return delayMs + usualMs <= remainingMs ? delayMs : undefined;
    },
    take: () => budget?.withdraw() ?? true,
  };
}
