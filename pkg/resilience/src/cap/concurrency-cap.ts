import { type Clock, requireNumber, requireWhole, type Scheduled, systemClock } from "@plinth/kernel";

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
  /**
   * Other limits from now on; `maxInFlight` may be 0 here: until there are places all wait. What is under way beyond them ends in its
   * time, and who waits already waits as long as before.
   */
  resize(limits: {
    readonly maxInFlight?: number | undefined;
    readonly maxQueue?: number | undefined;
    readonly maxWaitMs?: number | undefined;
  }): void;
}

/**
 * A cap on what is under way at one time, with a bounded queue. Nobody overtakes: while some wait, a place that comes free goes to
 * one of them. Who leaves the queue, for lack of time or by their signal, leaves it at once.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 * @see Maurer, Fail at Scale (adaptive LIFO): https://queue.acm.org/detail.cfm?id=2839461
 * @example
 * if (!cap.tryAcquire() && (await cap.acquire({ timeoutMs, signal })) !== "taken") throw busy;
 * try { await call(); } finally { cap.release(); }
 */
export function createConcurrencyCap(options: ConcurrencyCapOptions): ConcurrencyCap {
  const { maxInFlight, maxQueue = maxInFlight, maxWaitMs = 1_000, clock = systemClock } = options;
  const { lifoAfterMs } = options;
  requireWhole("maxInFlight", maxInFlight, { min: 1, max: 1_000_000 });
  if (lifoAfterMs !== undefined) requireNumber("lifoAfterMs", lifoAfterMs, { min: 0 });
  return new QueueingCap({ maxInFlight, maxQueue, maxWaitMs, lifoAfterMs, clock });
}

class QueueingCap implements ConcurrencyCap {
  maxInFlight = 0;
  inFlight = 0;
  waiting = 0;
  refused = 0;
  #maxQueue = 0;
  #maxWaitMs: number;
  /** Undefined: half of the longest wait. */
  readonly #lifoAfterMs: number | undefined;
  readonly #clock: Clock;
  /** Both ends of the queue: who has waited longest, and who came last. */
  #oldest: Waiter | undefined;
  #latest: Waiter | undefined;

  constructor(options: {
    readonly maxInFlight: number;
    readonly maxQueue: number;
    readonly maxWaitMs: number;
    readonly lifoAfterMs: number | undefined;
    readonly clock: Clock;
  }) {
    this.#maxWaitMs = options.maxWaitMs;
    this.#lifoAfterMs = options.lifoAfterMs;
    this.#clock = options.clock;
    this.resize(options);
  }

  tryAcquire(): boolean {
    if (this.inFlight >= this.maxInFlight) return false; // while some wait all places are taken
    this.inFlight++;
    return true;
  }

  acquire(
    options: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<CapVerdict> {
    const { timeoutMs = Infinity, signal } = options;
    if (signal?.aborted === true) return Promise.resolve("cancelled");
    if (!(timeoutMs > 0)) return this.#refuse("too_late");
    if (this.tryAcquire()) return Promise.resolve("taken");
    if (this.waiting >= this.#maxQueue) return this.#refuse("queue_full");
    const waitMs = Math.min(timeoutMs, this.#maxWaitMs);
    if (waitMs === 0) return this.#refuse("too_late");
    return new Promise((resolve) => {
      const waiter = new Waiter(this.#clock.monotonicMs(), resolve);
      waiter.timer = this.#clock.schedule(waitMs, () => this.#leave(waiter, "too_late"));
      if (signal) waiter.listen(signal, () => this.#leave(waiter, "cancelled"));
      this.#append(waiter);
    });
  }

  release(): void {
    this.inFlight = Math.max(0, this.inFlight - 1);
    this.#handOut();
  }

  resize(limits: Parameters<ConcurrencyCap["resize"]>[0]): void {
    const { maxInFlight = this.maxInFlight, maxQueue = this.#maxQueue, maxWaitMs = this.#maxWaitMs } = limits;
    requireWhole("maxInFlight", maxInFlight, { min: 0, max: 1_000_000 });
    requireWhole("maxQueue", maxQueue, { min: 0, max: 1_000_000 });
    requireNumber("maxWaitMs", maxWaitMs, { min: 0 });
    this.maxInFlight = maxInFlight;
    this.#maxQueue = maxQueue;
    this.#maxWaitMs = maxWaitMs;
    this.#handOut();
  }

  #handOut(): void {
    while (this.inFlight < this.maxInFlight) {
      const next = this.#next();
      if (!next) return;
      this.inFlight++;
      this.#leave(next, "taken");
    }
  }

  #next(): Waiter | undefined {
    const oldest = this.#oldest;
    if (!oldest) return undefined;
    const lifoAfterMs = this.#lifoAfterMs ?? this.#maxWaitMs / 2;
    return this.#clock.monotonicMs() - oldest.sinceMs >= lifoAfterMs ? this.#latest : oldest;
  }

  #refuse(verdict: CapVerdict): Promise<CapVerdict> {
    this.refused++;
    return Promise.resolve(verdict);
  }

  #append(waiter: Waiter): void {
    waiter.before = this.#latest;
    if (this.#latest) this.#latest.after = waiter;
    else this.#oldest = waiter;
    this.#latest = waiter;
    this.waiting++;
  }

  #leave(waiter: Waiter, verdict: CapVerdict): void {
    if (waiter.before) waiter.before.after = waiter.after;
    else this.#oldest = waiter.after;
    if (waiter.after) waiter.after.before = waiter.before;
    else this.#latest = waiter.before;
    this.waiting--;
    if (verdict === "too_late") this.refused++;
    waiter.settle(verdict);
  }
}

/** One in the queue, between those that came just before and after it. It leaves once, for then it listens to nothing. */
class Waiter {
  readonly sinceMs: number;
  readonly #resolve: (verdict: CapVerdict) => void;
  before: Waiter | undefined;
  after: Waiter | undefined;
  timer: Scheduled | undefined;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;

  constructor(sinceMs: number, resolve: (verdict: CapVerdict) => void) {
    this.sinceMs = sinceMs;
    this.#resolve = resolve;
  }

  listen(signal: AbortSignal, onAbort: () => void): void {
    this.#signal = signal;
    this.#onAbort = onAbort;
    signal.addEventListener("abort", onAbort, { once: true });
  }

  settle(verdict: CapVerdict): void {
    this.timer?.cancel();
    if (this.#onAbort) this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#resolve(verdict);
  }
}
