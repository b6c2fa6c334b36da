import type { ErrorReport } from "./error-bus.ts";
import { Ring } from "./ring.ts";

interface Waiting {
  readonly number: number;
  readonly report: ErrorReport;
}

/** Reports in the order they came, not more than `maxQueued`: beyond, the oldest goes, and a fatal one only for another. */
export class ReportQueue {
  readonly #maxQueued: number;
  readonly #plain = new Ring<Waiting>();
  readonly #fatal = new Ring<Waiting>();
  #count = 0;

  constructor(maxQueued: number) {
    this.#maxQueued = maxQueued;
  }

  get size(): number {
    return this.#plain.size + this.#fatal.size;
  }

  /** Returns whether one is lost for it, perhaps itself. */
  push(report: ErrorReport): boolean {
    const own = report.severity === "fatal" ? this.#fatal : this.#plain;
    const isFull = this.size >= this.#maxQueued;
    if (isFull) {
      const isLost = this.#plain.shift() === undefined && own === this.#plain;
      if (isLost) return true;
      if (this.size >= this.#maxQueued) this.#fatal.shift();
    }
    own.push({ number: this.#count++, report });
    return isFull;
  }

  /** At most `max`, the oldest first. */
  take(max: number): ErrorReport[] {
    const taken: ErrorReport[] = [];
    while (taken.length < max) {
      const plain = this.#plain.first?.number ?? Infinity;
      const fatal = this.#fatal.first?.number ?? Infinity;
      const next = (plain < fatal ? this.#plain : this.#fatal).shift();
      if (!next) break;
      taken.push(next.report);
    }
    return taken;
  }
}
