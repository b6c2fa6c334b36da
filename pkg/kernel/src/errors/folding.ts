import type { Clock, Scheduled } from "../clock.ts";
import type { ErrorReport } from "./error-bus.ts";
import { fingerprintOf, kindOf, Places } from "./fingerprint.ts";

export interface FoldingOptions {
  readonly clock: Clock;
  readonly foldIntervalMs: number;
  readonly maxFingerprints: number;
  /** Gets the reports that stand for several errors. */
  readonly give: (report: ErrorReport) => void;
}

/** A report that nobody has yet. */
export type Draft = { -readonly [K in keyof ErrorReport]: ErrorReport[K] };

/** A fault from its last report on. */
interface Fold {
  readonly fingerprint: string;
  sinceMs: number;
  /** Errors since then, and the newest of them. */
  count: number;
  newest: Draft | undefined;
}

/** Counts the same fault seen again: it is told at once, then with a count once in an interval. */
export class Folding {
  readonly #options: FoldingOptions;
  readonly #places = new Places();
  /** The one that was told longest ago first. */
  readonly #folds = new Map<string, Fold>();
  #timer: Scheduled | undefined;
  #timerAtMs = Infinity;
  #isClosed = false;
  #folded = 0;

  constructor(options: FoldingOptions) {
    this.#options = options;
  }

  /** Errors that have been counted, not told at once. */
  get folded(): number {
    return this.#folded;
  }

  /**
   * The report to be given now, with its fingerprint; undefined when it is counted for later. Fatal ones are all given.
   * @param root - What was thrown in the first place.
   */
  take(report: Draft, root: unknown): ErrorReport | undefined {
    const { clock, foldIntervalMs, maxFingerprints } = this.#options;
    const nowMs = clock.monotonicMs();
    const kind = kindOf(report, root);
    const place = report.error.code === "ERR_INTERNAL" ? this.#places.placeOf(root, kind, nowMs) : "";
    const fault = place === "" ? kind : `${kind} ${place}`;
    if (foldIntervalMs === 0 || this.#isClosed || report.severity === "fatal") {
      report.fingerprint = fingerprintOf(fault);
      return report;
    }
    const key = `${report.severity} ${report.handled} ${fault}`; // one that is worse than the last is told at once
    const known = this.#folds.get(key);
    if (known && nowMs - known.sinceMs < foldIntervalMs) {
      this.#folded++;
      known.newest = report;
      if (++known.count === 1) this.#schedule(known.sinceMs + foldIntervalMs, nowMs);
      return undefined;
    }
    const fold = known ?? { fingerprint: fingerprintOf(fault), sinceMs: nowMs, count: 0, newest: undefined };
    report.fingerprint = fold.fingerprint;
    report.count = fold.count + 1;
    this.#restart(key, fold, nowMs);
    if (this.#folds.size > maxFingerprints) this.#forgetOldest();
    return report;
  }

  /** Gives what has been counted so far. */
  flush(): void {
    this.#timer?.cancel();
    this.#timerAtMs = Infinity;
    for (const fold of this.#folds.values()) this.#give(fold);
  }

  /** The same, and from now on gives all at once. */
  close(): void {
    this.#isClosed = true;
    this.flush();
    this.#folds.clear();
  }

  #give(fold: Fold): void {
    const { newest, count, fingerprint } = fold;
    fold.count = 0;
    fold.newest = undefined;
    if (newest) this.#options.give(Object.assign(newest, { count, fingerprint }));
  }

  #restart(key: string, fold: Fold, nowMs: number): void {
    fold.sinceMs = nowMs;
    fold.count = 0;
    fold.newest = undefined;
    this.#folds.delete(key); // it is the newest now
    this.#folds.set(key, fold);
  }

  #forgetOldest(): void {
    for (const [key, fold] of this.#folds) {
      this.#folds.delete(key);
      return this.#give(fold);
    }
  }

  #schedule(atMs: number, nowMs: number): void {
    if (atMs >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = this.#options.clock.schedule(atMs - nowMs, () => this.#sweep(), { keepAlive: false });
  }

  /** Tells those whose interval is over what has been counted, and forgets those that have not come again. */
  #sweep(): void {
    const { clock, foldIntervalMs } = this.#options;
    const nowMs = clock.monotonicMs();
    this.#timerAtMs = Infinity;
    for (const [key, fold] of this.#folds) {
      if (nowMs - fold.sinceMs < foldIntervalMs) break; // as are all that follow
      const { count } = fold;
      this.#give(fold);
      if (count > 0) this.#restart(key, fold, nowMs);
      else this.#folds.delete(key);
    }
    for (const { count, sinceMs } of this.#folds.values()) {
      if (count > 0) return this.#schedule(sinceMs + foldIntervalMs, nowMs);
    }
  }
}
