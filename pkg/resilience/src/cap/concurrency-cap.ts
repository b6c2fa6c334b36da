import type { Clock } from "@plinth/kernel";

export interface ConcurrencyCapOptions {
  /** Places: so much at one time, 1 to 1_000_000. */
  readonly maxInFlight: number;
  /** So many wait at most, 0 (nobody waits) to 1_000_000. Default as many as there are places. */
  readonly maxQueue?: number | undefined;
  /** Nobody waits longer, in milliseconds from 0. Default 1_000. */
  readonly maxWaitMs?: number | undefined;
  /**
   * From when on the latest comes first, in milliseconds that the first has waited: under overload those who came first are the
   * ones whose callers are about to leave. `Infinity`: never, first come, first served. Default half of `maxWaitMs`.
   */
  readonly lifoAfterMs?: number | undefined;
  /** Default: the system's. It ends the waits too. */
  readonly clock?: Clock | undefined;
}

/**
 * - `taken`: the place is yours; release it once
 * - `queue_full`: as many wait already as may
 * - `too_late`: the caller has no time left, or none came free in time
 * - `cancelled`: the signal aborted
 */
export type CapVerdict = "taken" | "queue_full" | "too_late" | "cancelled";

/** How much may be under way at one time, and how many may wait for it. */
export interface ConcurrencyCap {
  readonly maxInFlight: number;
  readonly inFlight: number;
  readonly waiting: number;
  /** Refused since the start, whether the queue was full or the time too short. */
  readonly refused: number;
  /** Takes a place at once, if one is free and nobody waits. No allocation. */
  tryAcquire(): boolean;
  /**
   * Takes a place, now or when one is free. Never rejects.
   * @param options.timeoutMs - How long the caller waits, in milliseconds. Default `maxWaitMs`, which also bounds it.
   */
  acquire(options?: {
    readonly timeoutMs?: number | undefined;
    readonly signal?: AbortSignal | undefined;
  }): Promise<CapVerdict>;
  /** Once for each place taken: it goes to whoever waits. */
  release(): void;
  /** Other limits from now on. What is under way beyond them ends in its time. */
  resize(limits: { readonly maxInFlight?: number | undefined; readonly maxQueue?: number | undefined }): void;
}
