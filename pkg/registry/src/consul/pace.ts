import { type Clock, sleep } from "@plinth/kernel";

/** A token bucket in front of a loop: `burst` turns at once, then `perSecond`. */
export class Pace {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #creditMs: number;
  /** When the bucket would be full again. */
  #fullAtMs = -Infinity;

  constructor(clock: Clock, { perSecond, burst }: { readonly perSecond: number; readonly burst: number }) {
    this.#clock = clock;
    this.#intervalMs = 1_000 / perSecond;
    this.#creditMs = (burst - 1) * this.#intervalMs;
  }

  /** Resolves when the next turn may begin. */
  async turn(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const delayMs = this.#fullAtMs - this.#creditMs - nowMs;
    this.#fullAtMs = Math.max(this.#fullAtMs, nowMs) + this.#intervalMs;
    if (delayMs > 0) await sleep(this.#clock, delayMs, { signal });
  }
}
