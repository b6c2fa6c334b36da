import type { Clock, Scheduled } from "@plinth/kernel";

/** What must be over in time. A link of the {@link Deadlines} that it stands in, so that coming and going allocates nothing. */
export interface Due {
  /** In milliseconds of the monotonic clock. */
  readonly deadlineAtMs: number;
  dueBefore: Due | undefined;
  dueAfter: Due | undefined;
  /** The deadline has passed. */
  expire(): void;
}

/**
 * One timer for all requests that are given the same time: the first to come is the first to be due. Nearly all of them are over long
 * before, and a timer for each would be set and cleared in vain.
 */
export class Deadlines {
  readonly #clock: Clock;
  #first: Due | undefined;
  #last: Due | undefined;
  #timer: Scheduled | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param due - Not due before any that was added earlier. */
  add(due: Due): void {
    this.#timer ??= this.#wait(due);
    due.dueBefore = this.#last;
    if (this.#last === undefined) this.#first = due;
    else this.#last.dueAfter = due;
    this.#last = due;
  }

  /** Once for each that was added. Also for one that has expired. */
  remove(due: Due): void {
    const { dueBefore, dueAfter } = due;
    if (dueBefore === undefined && this.#first !== due) return;
    if (dueBefore === undefined) this.#first = dueAfter;
    else dueBefore.dueAfter = dueAfter;
    if (dueAfter === undefined) this.#last = dueBefore;
    else dueAfter.dueBefore = dueBefore;
    due.dueBefore = due.dueAfter = undefined;
  }

  /** The timer goes with whoever it was for. Safe to call twice. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wait({ deadlineAtMs }: Due): Scheduled {
    const leftMs = Math.max(0, deadlineAtMs - this.#clock.monotonicMs());
    return this.#clock.schedule(leftMs, () => this.#expire(), { keepAlive: false });
  }

  #expire(): void {
    this.#timer = undefined;
    const nowMs = this.#clock.monotonicMs();
    try {
      // a timer of node may come a fraction of a millisecond early
      for (let due = this.#first; due !== undefined && due.deadlineAtMs <= nowMs + 1; due = this.#first) {
        this.remove(due);
        due.expire();
      }
    } finally {
      if (this.#first !== undefined) this.#timer ??= this.#wait(this.#first);
    }
  }
}
