import type { Clock } from "@plinth/kernel";
import type { RetryBudget } from "./budget.ts";

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
