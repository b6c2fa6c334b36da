import type { Clock } from "@plinth/kernel";

/**
 * How work on a member ended:
 * - `success`: it answered, with something that is not its fault: `not_found` too
 * - `failure`: it answered that it failed: a 5xx, `internal`, `unavailable`
 * - `local_failure`: no answer: refused, reset, timed out
 * - `unknown`: cannot be told, as when the caller left
 */
export type Outcome = "success" | "failure" | "local_failure" | "unknown";

export interface OutlierOptions {
  /** Ejected after so many `local_failure`s in a row, 1 or more; `Infinity`: never. Default 3. */
  readonly localFailures?: number | undefined;
  /** Ejected after so many `failure`s in a row, 1 or more; `Infinity`: never. Default 5. */
  readonly failures?: number | undefined;
  /** How often success rates are compared, and how long it takes to forgive one ejection, in milliseconds. Default 10_000. */
  readonly intervalMs?: number | undefined;
  /** How long the first time, in milliseconds, 1 or more; doubles with each that is not forgiven. Default 5_000. */
  readonly ejectMs?: number | undefined;
  /** No ejection is longer, in milliseconds. Default 300_000. */
  readonly maxEjectMs?: number | undefined;
  /** Largest share ejected at one time, 0 to 1. At least one may be, and at least one never is. Default 0.5. */
  readonly maxEjectedRatio?: number | undefined;
  /** Where a smaller share than this is not ejected, all are used: 0 to 1. 0: never. Default 0.5. */
  readonly panicRatio?: number | undefined;
  /** Members that success rates are compared of, each with `rateMinCalls` in an interval; `Infinity`: not compared. Default 5. */
  readonly rateMinMembers?: number | undefined;
  /** Default 100. */
  readonly rateMinCalls?: number | undefined;
  /** Ejected when its success rate is so many standard deviations below the mean, from 0. Default 1.9. */
  readonly rateDeviations?: number | undefined;
  /** And at least this much below it, 0 to 1. Default 0.1. */
  readonly rateGap?: number | undefined;
  /** Default: the system's. Only its monotonic time is read. */
  readonly clock?: Clock | undefined;
  /** Source of jitter in [0, 1): ejections last up to a tenth longer, so that not all callers come back at once. Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** Why a member was ejected. One that fails its `health_check` stays out until it is readmitted. */
export type EjectReason = "local_failures" | "failures" | "success_rate" | "health_check";

/** One member as the detector sees it. */
export interface Suspect {
  readonly id: string;
  /** Undefined when it is not ejected. */
  readonly ejectedFor: EjectReason | undefined;
  /** Ejections, as of the latest one, that were not forgiven before it. */
  readonly ejections: number;
  /** When it comes back, in the clock's monotonic milliseconds; 0 when it is not ejected, `Infinity` when somebody must say so. */
  readonly returnsAtMs: number;
}

/** Finds members that fail where others do not, and keeps them out for a time. */
export interface OutlierDetector {
  readonly suspects: readonly Suspect[];
  readonly ejected: number;
  /** So many are ejected that the rest could not bear the load: all are to be used. */
  readonly isPanicking: boolean;
  /** Watches one more. */
  add(id: string): Suspect;
  /** Those that have left. Fewer may be ejected of a smaller set: those that would return first do so. */
  remove(suspects: readonly Suspect[]): void;
  /**
   * @param elapsedMs - Since the work began. Failures that a standstill of our own process explains count once together.
   * @param nowMs - The clock's monotonic time, where it has been read already.
   * @returns Whether it was ejected for it.
   */
  record(suspect: Suspect, outcome: Outcome, elapsedMs: number, nowMs?: number): boolean;
  /**
   * Keeps one out until it is readmitted, as when probes find that it does not serve. No share bounds this: it is known, not guessed. All
   * are used again when too few are left, by `panicRatio`.
   * @returns Whether that is news.
   */
  condemn(suspect: Suspect): boolean;
  /** Takes one back before its time, as when a probe says that it is well. */
  readmit(suspect: Suspect): boolean;
  /** Takes back who is due, and compares success rates when it is time. Cheap; before each choice. @returns Whether anything changed. */
  sweep(nowMs?: number): boolean;
}
