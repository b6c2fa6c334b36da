/**
 * Knows when nothing at all has happened for a while, as when the event loop stood still: what then fails all at once, since its
 * time ran out meanwhile, speaks against us and not against whoever was called. It has no timers: it goes by the gaps between the
 * things that it is told of. Where little is asked there are such gaps too; one failure at a time is then all that there is to count.
 */
export class StallGuard {
  readonly #stallMs: number;
  #lastMs = -Infinity;
  #gapEndedAtMs = -Infinity;

  /** @param stallMs - A gap from this length on counts. */
  constructor(stallMs = 200) {
    this.#stallMs = stallMs;
  }

  /** Something happens. */
  touch(nowMs: number): void {
    if (nowMs - this.#lastMs >= this.#stallMs) this.#gapEndedAtMs = nowMs;
    this.#lastMs = nowMs;
  }

  /** When the latest gap ended. What began before it may have failed for it. */
  get gapEndedAtMs(): number {
    return this.#gapEndedAtMs;
  }
}
