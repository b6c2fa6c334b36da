import type { Clock } from "@plinth/kernel";

/** Something that ends at a time unless removed before. Fields but `expire` belong to {@link Deadlines}. */
export interface Expiring {
  expiresAtMs: number;
  before: Expiring | undefined;
  after: Expiring | undefined;
  list: DeadlineList | undefined;
  /** Its time has passed. Called once, and it is in no list any more. */
  expire(): void;
}

/**
 * Many deadlines on one coarse timer: entries of the same length wait in a list that is in order by itself, so adding and
 * removing one costs a few assignments. Fires up to `tickMs` late, never early.
 */
export class Deadlines {
  readonly clock: Clock;
  readonly #tickMs: number;
  readonly #lists = new Map<number, DeadlineList>();
  #isTicking = false;
  #count = 0;

  constructor(clock: Clock, tickMs = 50) {
    this.clock = clock;
    this.#tickMs = tickMs;
  }

  /** The list for deadlines that are `lengthMs` milliseconds away when added. */
  list(lengthMs: number): DeadlineList {
    const known = this.#lists.get(lengthMs);
    if (known) return known;
    const list = new DeadlineList(lengthMs, this);
    this.#lists.set(lengthMs, list);
    return list;
  }

  /** For the lists: one more or one fewer waits. */
  counted(by: 1 | -1): void {
    this.#count += by;
    if (this.#count > 0 && !this.#isTicking) this.#scheduleTick();
  }

  #scheduleTick(): void {
    this.#isTicking = true;
    this.clock.schedule(this.#tickMs, () => this.#tick(), { keepAlive: false });
  }

  #tick(): void {
    this.#isTicking = false;
    const nowMs = this.clock.monotonicMs();
    for (const list of this.#lists.values()) list.expireUntil(nowMs);
    if (this.#count > 0 && !this.#isTicking) this.#scheduleTick();
  }
}

export class DeadlineList {
  readonly lengthMs: number;
  readonly #owner: Deadlines;
  #first: Expiring | undefined;
  #last: Expiring | undefined;

  constructor(lengthMs: number, owner: Deadlines) {
    this.lengthMs = lengthMs;
    this.#owner = owner;
  }

  /** @param nowMs - Of the monotonic clock, never less than for the entry before. */
  add(entry: Expiring, nowMs: number): void {
    entry.expiresAtMs = nowMs + this.lengthMs;
    entry.list = this;
    entry.before = this.#last;
    entry.after = undefined;
    if (this.#last) this.#last.after = entry;
    else this.#first = entry;
    this.#last = entry;
    this.#owner.counted(1);
  }

  /** Safe when it is not, or no longer, in the list. */
  remove(entry: Expiring): void {
    if (entry.list !== this) return;
    const { before, after } = entry;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
    entry.list = undefined;
    entry.before = undefined;
    entry.after = undefined;
    this.#owner.counted(-1);
  }

  expireUntil(nowMs: number): void {
    for (let entry = this.#first; entry && entry.expiresAtMs <= nowMs; entry = this.#first) {
      this.remove(entry);
      entry.expire();
    }
  }
}
