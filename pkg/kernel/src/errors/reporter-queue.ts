import type { Clock } from "../clock.ts";
import { runOutsideContext } from "../context.ts";
import { messageOf } from "./app-error.ts";
import type { ErrorReport, ErrorReporter } from "./error-bus.ts";

/** Then others get their turn: a reporter that itself reports would go on for ever. */
const maxInARow = 100;

export interface ReporterQueueOptions {
  readonly clock: Clock;
  readonly maxQueued: number;
  readonly reportTimeoutMs: number;
}

/**
 * Reports on their way to one reporter: one at a time, apart from whoever reports. Each reporter has a queue of its own,
 * so that one which is slow, hangs or fails takes nothing from the others.
 */
export class ReporterQueue {
  readonly #reporter: ErrorReporter;
  readonly #options: ReporterQueueOptions;
  #waiting: ErrorReport[] = [];
  #delivery: Promise<void> | undefined;
  #isFailing = false;
  #dropped = 0;
  #failures = 0;

  constructor(reporter: ErrorReporter, options: ReporterQueueOptions) {
    this.#reporter = reporter;
    this.#options = options;
  }

  get dropped(): number {
    return this.#dropped;
  }

  get failures(): number {
    return this.#failures;
  }

  push(report: ErrorReport): void {
    if (this.#waiting.length >= this.#options.maxQueued) {
      this.#dropped++;
      const oldest = this.#waiting.findIndex(({ severity }) => severity !== "fatal");
      if (oldest < 0 && report.severity !== "fatal") return;
      this.#waiting.splice(Math.max(0, oldest), 1);
    }
    this.#waiting.push(report);
    this.#delivery ??= runOutsideContext(() => this.#deliver());
  }

  /** Settles when nothing waits and nothing is on its way; undefined when that is so already. */
  get delivery(): Promise<void> | undefined {
    return this.#delivery;
  }

  /** Drops, and counts, what still waits. */
  clear(): void {
    this.#dropped += this.#waiting.length;
    this.#waiting = [];
  }

  async #deliver(): Promise<void> {
    while (this.#waiting.length > 0) {
      await new Promise(setImmediate); // out of the request that reports, and out of the way of everything else
      for (let given = 0; given < maxInARow; given++) {
        const report = this.#waiting.shift();
        if (!report) break;
        await this.#give(report);
      }
    }
    this.#delivery = undefined;
  }

  async #give(report: ErrorReport): Promise<void> {
    try {
      const taken = this.#reporter.report([report], { signal: new AbortController().signal });
      if (taken !== undefined) await this.#withLimit(taken);
      this.#isFailing = false;
    } catch (error) {
      this.#failures++;
      // Not through the bus: a reporter's failure must not come back to it. Once for each spell of failures: all are counted.
      if (!this.#isFailing) process.stderr.write(`error reporter ${this.#reporter.name} failed: ${messageOf(error)}\n`);
      this.#isFailing = true;
    }
  }

  async #withLimit(taken: Promise<void>): Promise<void> {
    const { clock, reportTimeoutMs } = this.#options;
    const late = Promise.withResolvers<never>();
    const timer = clock.schedule(
      reportTimeoutMs,
      () => late.reject(new Error(`a report took longer than ${reportTimeoutMs} ms`)),
      { keepAlive: false },
    );
    try {
      await Promise.race([taken, late.promise]);
    } finally {
      timer.cancel();
    }
  }
}
