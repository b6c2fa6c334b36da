/** When a check runs, and what it takes to change its verdict. */
export interface CheckSchedule {
  /**
   * How long after the end of one run the next begins, in milliseconds, 10 or more; a random part of up to a tenth is taken off
   * each time. `Infinity` runs it once. Default 5_000.
   */
  readonly intervalMs?: number | undefined;
  /** After this many milliseconds, 1 or more, a run counts as failed, and its signal aborts. Default 1_000. */
  readonly timeoutMs?: number | undefined;
  /** Failures in a row, 1 or more, that turn a passing check into a failing one; the first run of all decides alone. Default 2. */
  readonly failuresToFlip?: number | undefined;
  /** Successes in a row, 1 or more, that turn a failing check into a passing one. Default 1. */
  readonly successesToFlip?: number | undefined;
}

/** Something readiness depends on. It throws or rejects when it is not well; the text goes to the log and to verbose answers, never to others. */
export interface HealthCheck extends CheckSchedule {
  /** 1 to 100 characters, its own among all checks of the app; in answers and metrics. */
  readonly name: string;
  /** A failing critical check makes the app not ready; another only degrades it. Default true. */
  readonly critical?: boolean | undefined;
  /** Not called again before what it returned has settled; one that never settles stays "timed out". */
  run(context: { readonly signal: AbortSignal }): void | Promise<void>;
}

export type CheckStatus = "pass" | "warn" | "fail";

/** What anyone may know of a check. */
export interface CheckResult {
  readonly name: string;
  /** One that does not pass is `warn` when it is not critical. */
  readonly status: CheckStatus;
  /** How long its last run took, in milliseconds. Absent until it has run. */
  readonly durationMs?: number;
  /** How long ago that run ended, in milliseconds. Absent until it has run. */
  readonly ageMs?: number;
  /** Fixed words; what the check threw goes to the log. */
  readonly output?: "failed" | "timed out" | "not run yet";
}

/** What operators may know of it besides. */
export interface CheckDetails extends CheckResult, Readonly<Record<keyof CheckSchedule, number>> {
  readonly critical: boolean;
  /** When the status began, as ISO 8601. Absent until it has run. */
  readonly since?: string;
  readonly consecutiveFailures: number;
  readonly consecutiveSuccesses: number;
  /** How many times the status has changed. */
  readonly flips: number;
  /** The text of its last failure, where the last run failed or the status is not `pass`. */
  readonly cause?: string;
  /** A run that timed out has still not ended. */
  readonly hangs: boolean;
}

/** A check has begun to fail, or has recovered. */
export interface CheckChange {
  readonly name: string;
  readonly critical: boolean;
  readonly passing: boolean;
  /** What a failing one threw. */
  readonly cause?: unknown;
  /** How long the status before lasted, in milliseconds; 0 for the first one. */
  readonly afterMs: number;
}
