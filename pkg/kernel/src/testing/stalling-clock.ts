import { FakeClock } from "./fake-clock.ts";

/** A fake clock whose time can go on while nothing runs, as when the event loop stands still. */
export class StallingClock extends FakeClock {
  #stalledMs = 0;

  override monotonicMs(): number {
    return super.monotonicMs() + this.#stalledMs;
  }

  /** Moves time on by `ms`; what falls due meanwhile runs late. */
  stall(ms: number): void {
    this.#stalledMs += ms;
  }
}
