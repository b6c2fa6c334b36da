import { type Clock, requireNumber, systemClock } from "@plinth/kernel";
import { type Circuit, createBreaker } from "../breaker/breaker.ts";
import type { RateStore } from "./types.ts";

export interface StoreGateOptions {
  /** It stays the caller's, to be closed after whatever uses it. */
  readonly store: RateStore;
  /** How long an answer is waited for, in milliseconds, 1 to 10_000. Default 30. */
  readonly deadlineMs?: number | undefined;
  /** Told when it goes without the store, and why, and when it goes by it again; not for a single late answer. */
  readonly onDegraded?: ((isDegraded: boolean, cause: unknown) => void) | undefined;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
}

/**
 * One that hangs is noticed before a fifth of a second's questions have waited in vain, whatever went well before; one that is back is
 * asked again within seconds.
 */
const rules = {
  errorRatio: 0.2,
  minCalls: 5,
  windowMs: 1_000,
  openMs: 500,
  maxOpenMs: 2_000,
  recoveryMs: 2_000,
} as const;
/** So many failures in a row say that it is lost also where questions are too seldom for the breaker. */
const maxInARow = 5;

/** The way to a store: each question has a deadline, and none is sent for a while when too many failed. */
export class StoreGate {
  readonly store: RateStore;
  readonly #deadlineMs: number;
  readonly #clock: Clock;
  readonly #circuit: Circuit;
  readonly #onDegraded: StoreGateOptions["onDegraded"];
  #wasDegraded = false;
  #lastCause: unknown;
  #inARow = 0;
  /** Questions without an answer in time, since the start. */
  failures = 0;
  /** Questions that were not sent, since too many had failed. */
  notSent = 0;

  /** @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range. */
  constructor({ store, deadlineMs = 30, onDegraded, clock = systemClock }: StoreGateOptions) {
    requireNumber("deadlineMs", deadlineMs, { min: 1, max: 10_000 });
    this.store = store;
    this.#deadlineMs = deadlineMs;
    this.#clock = clock;
    this.#onDegraded = onDegraded;
    this.#circuit = createBreaker({ ...rules, clock }).circuit(store.name, "take");
  }

  /** Whether it goes without the store for now, in part or altogether. */
  get isDegraded(): boolean {
    const isDegraded = !this.store.isReady || this.#circuit.state !== "closed" || this.#inARow >= maxInARow;
    if (isDegraded !== this.#wasDegraded) {
      this.#wasDegraded = isDegraded;
      this.#onDegraded?.(isDegraded, this.store.isReady ? this.#lastCause : (this.store.lastError ?? this.#lastCause));
    }
    return isDegraded;
  }

  /** What the store answers; undefined where it does not in time, or is not asked. Never rejects. */
  async ask<T>(question: (store: RateStore) => Promise<T>): Promise<T | undefined> {
    if (!this.#circuit.allow()) {
      this.notSent++;
      return undefined;
    }
    const startedAtMs = this.#clock.monotonicMs();
    const late = Promise.withResolvers<undefined>();
    // Timers come before what has arrived: after a standstill of this process an answer may be there, and is read first.
    const timer = this.#clock.schedule(this.#deadlineMs, () => setImmediate(() => late.resolve(undefined)));
    try {
      const answer = await Promise.race([question(this.store), late.promise]);
      if (answer === undefined) this.#lastCause = new Error(`no answer within ${this.#deadlineMs} ms`);
      this.#ended(answer !== undefined, startedAtMs);
      return answer;
    } catch (error) {
      this.#lastCause = error;
      this.#ended(false, startedAtMs);
      return undefined;
    } finally {
      timer.cancel();
    }
  }

  #ended(ok: boolean, startedAtMs: number): void {
    if (!ok) this.failures++;
    this.#inARow = ok ? 0 : this.#inARow + 1;
    this.#circuit.record(ok, this.#clock.monotonicMs() - startedAtMs);
    void this.isDegraded; // tells of a change
  }
}
