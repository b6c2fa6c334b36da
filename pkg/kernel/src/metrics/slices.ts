import { setImmediate } from "node:timers/promises";

/** Long enough to be worth the pause, short enough that nothing else notices. */
const sliceMs = 1;
/** Steps between looks at the time. */
const stepsPerLook = 32;

/**
 * Cuts long work into slices of about a millisecond, between which everything else gets its turn: `if (slices.due()) await slices.pause()`
 * after each small step.
 */
export class Slices {
  readonly #signal: AbortSignal | undefined;
  #steps = 0;
  #endsAt = performance.now() + sliceMs;

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** Whether a slice of time is used up. */
  due(): boolean {
    this.#steps += 1;
    return this.#steps % stepsPerLook === 0 && performance.now() >= this.#endsAt;
  }

  /** @throws the signal's reason when it has aborted. */
  async pause(): Promise<void> {
    await setImmediate();
    this.#signal?.throwIfAborted();
    this.#endsAt = performance.now() + sliceMs;
  }
}
