import { type Clock, sleep } from "@plinth/kernel";

/** The time between two rounds of a loop: over when it has passed, at once when woken, and soon when hurried. */
export class Pause {
  readonly #clock: Clock;
  readonly #soonMs: number;
  #sleeping: AbortController | undefined;
  #isHurried = false;

  /** @param soonMs - No pause that is hurried ends sooner than this after it began, in milliseconds. */
  constructor(clock: Clock, soonMs: number) {
    this.#clock = clock;
    this.#soonMs = soonMs;
  }

  /** Looks again at whether the pause is over. */
  wake(): void {
    this.#sleeping?.abort();
  }

  /** Cuts the pause short, or the next one. */
  hurry(): void {
    this.#isHurried = true;
    this.wake();
  }

  /** What it was hurried for is being done. */
  settle(): void {
    this.#isHurried = false;
  }

  /** @param isOver - Whether there is something to do at once. */
  async wait(delayMs: number, isOver: () => boolean): Promise<void> {
    const beganAtMs = this.#clock.monotonicMs();
    while (!isOver()) {
      const lastsMs = this.#isHurried ? Math.min(delayMs, this.#soonMs) : delayMs;
      const leftMs = beganAtMs + lastsMs - this.#clock.monotonicMs();
      if (leftMs <= 0) return;
      const { signal } = (this.#sleeping = new AbortController());
      await sleep(this.#clock, leftMs, { signal }).catch((error: unknown) => {
        if (!signal.aborted) throw error; // else it was woken
      });
      this.#sleeping = undefined;
    }
  }
}
