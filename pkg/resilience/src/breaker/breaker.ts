import type { Clock } from "@plinth/kernel";

export interface BreakerOptions {
  /** Share of calls that must fail within the window, above 0 to 1. Default 0.5. */
  readonly errorRatio?: number | undefined;
  /** Fewer calls than this within the window say nothing: 1 or more. Default 20. */
  readonly minCalls?: number | undefined;
  /** How long a call counts, in milliseconds from 10. Default 10_000. */
  readonly windowMs?: number | undefined;
  /** How long nothing goes through the first time, in milliseconds; doubles each time that recovery fails. Default 2_000. */
  readonly openMs?: number | undefined;
  /** It is never shut for longer, in milliseconds. Default 60_000. */
  readonly maxOpenMs?: number | undefined;
  /** How long it takes from the first call through to all of them, in milliseconds from 0. Default 10_000. */
  readonly recoveryMs?: number | undefined;
  /** Circuits kept, 1 to 1_000_000; beyond that those that know least are forgotten. Default 10_000. */
  readonly maxCircuits?: number | undefined;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock | undefined;
}

/**
 * - `closed`: every call goes through
 * - `open`: none does
 * - `recovering`: a share does that grows evenly with time from one call to all
 */
export type CircuitState = "closed" | "open" | "recovering";

/** The breaker of one operation at one instance. Keep it for the length of a call, not longer: it may be forgotten. */
export interface Circuit {
  readonly instance: string;
  readonly operation: string;
  readonly state: CircuitState;
  /** Calls within the window, and those of them that failed. */
  readonly calls: number;
  readonly failures: number;
  /** How long until calls go through again, in whole milliseconds; 0 unless it is open. */
  readonly retryAfterMs: number;
  /** Whether a call may go. Ask once for each. */
  allow(): boolean;
  /**
   * How the call ended. What says nothing of the instance, as when the caller has left, is not told.
   * @param ok - False for what the instance is to blame for: lost connections, timeouts, `internal`, `unavailable`, not the caller's mistakes.
   * @param elapsedMs - Since it was allowed. Failures that a standstill of our own process explains count once together.
   */
  record(ok: boolean, elapsedMs: number): void;
}

/** Circuits by instance and operation. */
export interface Breaker {
  /** The circuit of `operation` at `instance`, made if need be. No allocation when it is there. */
  circuit(instance: string, operation: string): Circuit;
  /** Forgets an instance that has left. */
  forget(instance: string): void;
  /** Circuits kept now. */
  readonly size: number;
  /** Circuits forgotten since there were too many. */
  readonly forgotten: number;
  /** Those that are not closed, for who describes the client. */
  tripped(): readonly Circuit[];
}
