import type { Clock, Scheduled } from "../clock.ts";

interface Task {
  readonly atMs: number;
  readonly run: () => void;
}

/** A clock that stands still until told. Tasks run in the order of their time, in {@link FakeClock.advance}. */
export class FakeClock implements Clock {
  #nowMs: number;
  readonly #epochMs: number;
  readonly #tasks = new Set<Task>();

  /** @param epochMs - What `now` starts at, in milliseconds since the Unix epoch. */
  constructor(epochMs = 1_700_000_000_000) {
    this.#epochMs = epochMs;
    this.#nowMs = 0;
  }

  now(): number {
    return this.#epochMs + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, run: () => void): Scheduled {
    const task: Task = { atMs: this.#nowMs + Math.max(0, delayMs), run };
    this.#tasks.add(task);
    return { cancel: () => void this.#tasks.delete(task) };
  }

  /** How many tasks wait. */
  get pending(): number {
    return this.#tasks.size;
  }

  /** Moves time on by `ms`, running what falls due on the way and letting promises settle after each task. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settle();
    for (let task = this.#next(untilMs); task; task = this.#next(untilMs)) {
      this.#tasks.delete(task);
      this.#nowMs = Math.max(this.#nowMs, task.atMs);
      task.run();
      await settle();
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs); // a task may have moved time itself
  }

  #next(untilMs: number): Task | undefined {
    let first: Task | undefined;
    for (const task of this.#tasks)
      if (task.atMs <= untilMs && (first === undefined || task.atMs < first.atMs)) first = task;
    return first;
  }
}

/** Lets every promise that can settle without time or I/O do so. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
}
