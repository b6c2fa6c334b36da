import { LazyContext } from "../app/hook-context.ts";
import { isThenable } from "../app/limited.ts";
import { printable } from "../config/printable.ts";
import { runOutsideContext } from "../context.ts";
import { toText } from "../logger/text.ts";
import type { ErrorBusOptions, ErrorReport, ErrorReporter, ReporterStats } from "./error-bus.ts";
import { ReportQueue } from "./report-queue.ts";
import { ReporterBreaker, type ReporterBreakerOptions } from "./reporter-breaker.ts";
import { messageOf } from "./thrown.ts";

/** Then others get their turn: a reporter that itself reports would go on for ever. */
const maxInARow = 100;
const maxMessageLength = 1_000;

export interface DeliveryOptions extends ReporterBreakerOptions {
  readonly maxQueued: number;
  readonly reportTimeoutMs: number;
  readonly onDelivery?: ErrorBusOptions["onDelivery"];
}

/** Reports on their way to one reporter: a batch at a time, apart from whoever reports and from other reporters. */
export class ReporterQueue {
  readonly name: string;
  readonly #reporter: ErrorReporter;
  readonly #options: DeliveryOptions;
  readonly #waiting: ReportQueue;
  readonly #breaker: ReporterBreaker;
  #delivery: Promise<void> | undefined;
  /** Ends the call under way. */
  #cut: ((why: Error) => void) | undefined;
  #isClosed = false;
  #isFailing = false;
  #delivered = 0;
  #dropped = 0;
  #failures = 0;

  constructor(reporter: ErrorReporter, name: string, options: DeliveryOptions) {
    this.name = name;
    this.#reporter = reporter;
    this.#options = options;
    this.#waiting = new ReportQueue(options.maxQueued);
    this.#breaker = new ReporterBreaker(options, () => this.wake());
  }

  stats(): ReporterStats {
    return {
      name: this.name,
      queued: this.#waiting.size,
      delivered: this.#delivered,
      dropped: this.#dropped,
      failures: this.#failures,
      open: this.#breaker.isOpen,
    };
  }

  /** Whether something waits or is on its way. */
  get isBusy(): boolean {
    return this.#delivery !== undefined || this.#waiting.size > 0;
  }

  /** Takes what {@link wake} then delivers. */
  push(report: ErrorReport): void {
    if (this.#isClosed && this.#breaker.isOpen) this.#dropped++;
    else if (this.#waiting.push(report)) this.#dropped++;
  }

  wake(): void {
    if (this.#waiting.size > 0 && !this.#breaker.isOpen) this.#delivery ??= runOutsideContext(() => this.#deliver());
  }

  /** Settles when nothing waits. One that is left alone is tried once more; when it fails again, what waits is dropped. */
  async drain(): Promise<void> {
    if (this.#breaker.isOpen && this.#waiting.size > 0) this.#breaker.tryNow();
    this.wake();
    await this.#delivery;
    if (this.#breaker.isOpen) this.clear();
  }

  /** Gives what waits to a reporter that can take it at once. */
  writeSync(): void {
    if (!this.#reporter.reportSync || this.#waiting.size === 0) return;
    const batch = this.#waiting.take(Infinity);
    try {
      this.#reporter.reportSync(batch);
      this.#delivered += batch.length;
    } catch (error) {
      this.#failed(batch, error);
    }
  }

  /** Drops, and counts, what still waits. */
  clear(): void {
    this.#dropped += this.#waiting.take(Infinity).length;
  }

  /** Leaves no timer: of a reporter that is left alone nothing more is expected. */
  close(): void {
    this.#isClosed = true;
    this.#breaker.close();
    this.#cut?.(new Error("the error bus was closed"));
  }

  /** Closes it, and drops what waits. */
  end(): void {
    this.clear();
    this.close();
  }

  async #deliver(): Promise<void> {
    while (this.#waiting.size > 0 && !this.#breaker.isOpen) {
      for (let given = 0; given < maxInARow && this.#waiting.size > 0 && !this.#breaker.isOpen; given++) {
        await this.#give(this.#waiting.take(this.#reporter.maxBatch ?? 1));
      }
      await new Promise(setImmediate);
    }
    this.#delivery = undefined;
  }

  async #give(batch: readonly ErrorReport[]): Promise<void> {
    const context = new LazyContext();
    const startedAtMs = this.#options.clock.monotonicMs();
    try {
      const taken: unknown = this.#reporter.report(batch, context);
      if (isThenable(taken)) await this.#withLimit(Promise.resolve(taken), context);
      this.#delivered += batch.length;
      this.#isFailing = false;
      this.#breaker.succeeded();
      this.#tell(startedAtMs, true);
    } catch (error) {
      this.#failed(batch, error);
      this.#breaker.failed();
      this.#tell(startedAtMs, false);
      if (this.#isClosed) this.#breaker.close();
    }
  }

  #tell(startedAtMs: number, isTaken: boolean): void {
    const { clock, onDelivery } = this.#options;
    onDelivery?.(this.name, clock.monotonicMs() - startedAtMs, isTaken);
  }

  async #withLimit(taken: Promise<unknown>, context: LazyContext): Promise<void> {
    const { clock, reportTimeoutMs } = this.#options;
    const late = Promise.withResolvers<never>();
    this.#cut = (why) => {
      context.abort(why);
      late.reject(why);
    };
    const onTime = (): void => this.#cut?.(new Error(`a report took longer than ${reportTimeoutMs} ms`));
    const timer = clock.schedule(reportTimeoutMs, onTime, { keepAlive: false });
    try {
      await Promise.race([taken, late.promise]);
    } finally {
      timer.cancel();
      this.#cut = undefined;
    }
  }

  /** Not told through the bus: a reporter's failure must not come back to it. Once for each spell of failures: all are counted. */
  #failed(batch: readonly ErrorReport[], error: unknown): void {
    this.#failures++;
    this.#dropped += batch.length;
    if (this.#isFailing) return;
    this.#isFailing = true;
    const text = printable(`error reporter ${this.name} failed: ${toText(messageOf(error))}`, maxMessageLength);
    try {
      process.stderr.write(`${text}\n`);
    } catch {
      // standard error is closed
    }
  }
}
