import { backoffDelayMs } from "../backoff.ts";
import type { Clock, Scheduled } from "../clock.ts";
import type { BreakerOptions } from "./error-bus.ts";

export interface ReporterBreakerOptions extends Required<BreakerOptions> {
  readonly clock: Clock;
  /** Source of jitter in [0, 1). */
  readonly random: () => number;
}

/** Leaves a reporter alone that fails again and again, for longer each time: half of a pause is fixed, half is jitter. */
export class ReporterBreaker {
  readonly #options: ReporterBreakerOptions;
  readonly #onTry: () => void;
  #failuresInARow = 0;
  #pauses = 0;
  #timer: Scheduled | undefined;
  #isOpen = false;

  /** @param onTry - Called when a pause is over, and one try may show whether it works again. */
  constructor(options: ReporterBreakerOptions, onTry: () => void) {
    this.#options = options;
    this.#onTry = onTry;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  succeeded(): void {
    this.#failuresInARow = 0;
    this.#pauses = 0;
    this.tryNow();
  }

  failed(): void {
    const { clock, breakerFailures, breakerPauseMs, breakerMaxPauseMs, random } = this.#options;
    if (++this.#failuresInARow < breakerFailures || this.#isOpen) return;
    this.#isOpen = true;
    this.#pauses++;
    const half = { baseDelayMs: breakerPauseMs / 2, maxDelayMs: breakerMaxPauseMs / 2 };
    const fixedMs = backoffDelayMs(this.#pauses, { ...half, random: () => 1 });
    const pauseMs = fixedMs + backoffDelayMs(this.#pauses, { ...half, random });
    this.#timer = clock.schedule(
      pauseMs,
      () => {
        this.tryNow();
        this.#onTry();
      },
      { keepAlive: false },
    );
  }

  /** Ends the pause: the next failure begins a longer one. */
  tryNow(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#isOpen = false;
  }

  /** Leaves no timer; what is open stays so. */
  close(): void {
    this.#timer?.cancel();
  }
}
