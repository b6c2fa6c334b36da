import type { Clock } from "@plinth/kernel";
import { type LoopDelay, watchLoopDelay } from "@plinth/transport";
import type { Importance } from "../config/schema-limits.ts";

/** At which share of the threshold requests of a route are refused: the least important first, the critical never. */
const shares: Readonly<Record<Importance, number>> = { low: 0.5, normal: 1, high: 2, critical: Infinity };

/** Refuses requests of less important routes first while the event loop runs late: what is done for them would make it later for all. */
export class Shedder {
  readonly #maxLoopDelayMs: number;
  readonly #clock: Clock;
  #delay: LoopDelay | undefined;

  /** @param maxLoopDelayMs - From when on requests of normal importance are refused; 0: never. */
  constructor(maxLoopDelayMs: number, clock: Clock) {
    this.#maxLoopDelayMs = maxLoopDelayMs;
    this.#clock = clock;
  }

  start(): void {
    if (this.#maxLoopDelayMs > 0) this.#delay ??= watchLoopDelay({ clock: this.#clock });
  }

  refuses(importance: Importance): boolean {
    return this.#delay !== undefined && this.#delay.nowMs() > this.#maxLoopDelayMs * shares[importance];
  }

  /** Safe to call twice. */
  close(): void {
    this.#delay?.close();
    this.#delay = undefined;
  }
}
