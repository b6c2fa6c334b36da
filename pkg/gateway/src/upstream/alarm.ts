import type { DeadlineList, Expiring } from "../server/deadlines.ts";

/** Something to be done when a time has passed, unless it is stopped before. It can be set again. */
export class Alarm implements Expiring {
  expiresAtMs = 0;
  before: Expiring | undefined;
  after: Expiring | undefined;
  list: DeadlineList | undefined;
  readonly #onExpired: () => void;

  constructor(onExpired: () => void) {
    this.#onExpired = onExpired;
  }

  expire(): void {
    this.#onExpired();
  }

  /** @param nowMs - Of the monotonic clock. */
  set(list: DeadlineList, nowMs: number): void {
    this.stop();
    list.add(this, nowMs);
  }

  stop(): void {
    this.list?.remove(this);
  }
}
