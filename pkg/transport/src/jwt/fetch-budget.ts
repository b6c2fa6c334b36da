import type { Clock } from "@plinth/kernel";

/** Bounds the fetches of key sets that tokens with unknown key ids ask for, over all issuers together. */
export class FetchBudget {
  readonly #clock: Clock;
  readonly #max: number;
  readonly #refillMs: number;
  #left: number;
  #countedAtMs: number;

  /** @param options.max - Fetches at one time, 1 or more. Default 10. @param options.refillMs - Until one more may be, in milliseconds. Default 6_000. */
  constructor(
    clock: Clock,
    { max = 10, refillMs = 6_000 }: { readonly max?: number; readonly refillMs?: number } = {},
  ) {
    this.#clock = clock;
    this.#max = max;
    this.#refillMs = refillMs;
    this.#left = max;
    this.#countedAtMs = clock.monotonicMs();
  }

  /** Whether there may be one more fetch, which is counted then. */
  take(): boolean {
    const nowMs = this.#clock.monotonicMs();
    this.#left = Math.min(this.#max, this.#left + (nowMs - this.#countedAtMs) / this.#refillMs);
    this.#countedAtMs = nowMs;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
