import type { Clock } from "../clock.ts";
import { currentContext } from "../context.ts";
import { AppError } from "./app-error.ts";
import { requireNumber, requireWhole, withDefaults } from "./option-error.ts";
import { ReporterQueue } from "./reporter-queue.ts";

export type ErrorOrigin = "request" | "rpc" | "job" | "timer" | "process" | "lifecycle" | "stream";

export interface ErrorContext {
  readonly origin: ErrorOrigin;
  /** False when nothing dealt with it, as for an uncaught exception. Default true. */
  readonly handled?: boolean;
  /** Default `error`. */
  readonly severity?: "warning" | "error" | "fatal";
  /** Facts for whoever reads the report; nothing secret. */
  readonly attributes?: Readonly<Record<string, string | number | boolean>>;
}

export interface ErrorReport {
  readonly error: AppError;
  /** The app that reports. */
  readonly service: string;
  /** The same for errors that are the same fault seen again: by code, message without its numbers, origin and place. */
  readonly fingerprint: string;
  /** How many errors this report stands for: 1, or those of this fingerprint since its last report; it is the newest of them. */
  readonly count: number;
  readonly origin: ErrorOrigin;
  readonly handled: boolean;
  readonly severity: "warning" | "error" | "fatal";
  /** When it was reported, the last of them if there are several, in milliseconds since the Unix epoch. */
  readonly time: number;
  readonly traceId: string | undefined;
  readonly spanId: string | undefined;
  readonly requestId: string | undefined;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
}

/**
 * Takes reports apart from whoever made them, a batch at a time, never two at once. One that throws, rejects or hangs takes nothing
 * from the others: it has a queue, a limit and a breaker of its own.
 */
export interface ErrorReporter {
  readonly name: string;
  /** Most reports in one call, 1 or more. Default 1. */
  readonly maxBatch?: number;
  /**
   * Takes reports, the oldest first. Throws or rejects when it could not: they are dropped and counted, so it retries by itself if at all.
   * @param context.signal - Aborts when the limit has passed; what it still does is nobody's.
   */
  report(reports: readonly ErrorReport[], context: { readonly signal: AbortSignal }): void | Promise<void>;
  /** Writes at once, without waiting: called with what is left of its queue when the process is about to die. Absent: that is lost. */
  reportSync?(reports: readonly ErrorReport[]): void;
}

/** The one path for every error of an app. */
export interface ErrorBus {
  /** Never throws and never waits. The same error object is reported once, however many layers report it. */
  report(error: unknown, context: ErrorContext): AppError;
  subscribe(reporter: ErrorReporter): void;
  stats(): ErrorBusStats;
  /** Resolves when every reporter has taken what was reported, or the flush limit has passed: then the rest is dropped and counted. */
  flush(): Promise<void>;
}

export interface ErrorBusStats {
  readonly reported: number;
  /** Reports that a reporter did not get, because its queue was full or a flush ran out of time. */
  readonly dropped: number;
  /** Times that a reporter threw, rejected or took too long. */
  readonly reporterFailures: number;
}

export interface ErrorBusOptions {
  readonly clock: Clock;
  /** Reports waiting for one reporter, 1 or more; when full the oldest that is not fatal is dropped. Default 1_000. */
  readonly maxQueued?: number;
  /** What a reporter may take for one report, in milliseconds, above 0; then it gets the next one. Default 5_000. */
  readonly reportTimeoutMs?: number;
  /** What a flush may take, in milliseconds, above 0. Default 3_000. */
  readonly flushTimeoutMs?: number;
}

const defaults: Required<Omit<ErrorBusOptions, "clock">> = Object.freeze({
  maxQueued: 1_000,
  reportTimeoutMs: 5_000,
  flushTimeoutMs: 3_000,
});

/** @throws {@link OptionError} `ERR_OPTION_RANGE` when an option is out of range. */
export function createErrorBus(options: ErrorBusOptions): ErrorBus {
  return new InProcessErrorBus(options);
}

class InProcessErrorBus implements ErrorBus {
  readonly #options: Required<ErrorBusOptions>;
  readonly #queues: ReporterQueue[] = [];
  readonly #seen = new WeakSet<object>();
  #reported = 0;

  constructor(options: ErrorBusOptions) {
    this.#options = { clock: options.clock, ...withDefaults(defaults, options) };
    requireWhole("maxQueued", this.#options.maxQueued, { min: 1 });
    requireNumber("reportTimeoutMs", this.#options.reportTimeoutMs, { min: 1 });
    requireNumber("flushTimeoutMs", this.#options.flushTimeoutMs, { min: 1 });
  }

  report(thrown: unknown, { origin, handled = true, severity = "error", attributes = {} }: ErrorContext): AppError {
    const error = AppError.from(thrown);
    // a layer may have wrapped it on the way, and another may report what was inside
    const identities = [thrown, error, error.code === "ERR_INTERNAL" ? error.cause : undefined].filter(isObject);
    const isKnown = identities.some((identity) => this.#seen.has(identity));
    for (const identity of identities) this.#seen.add(identity);
    if (isKnown) return error;
    const context = currentContext();
    this.#reported++;
    const report: ErrorReport = {
      error,
      service: "",
      fingerprint: error.code,
      count: 1,
      origin,
      handled,
      severity,
      time: this.#options.clock.now(),
      traceId: context?.span?.traceId,
      spanId: context?.span?.spanId,
      requestId: context?.requestId,
      attributes,
    };
    for (const queue of this.#queues) queue.push(report);
    return error;
  }

  subscribe(reporter: ErrorReporter): void {
    this.#queues.push(new ReporterQueue(reporter, this.#options));
  }

  stats(): ErrorBusStats {
    return {
      reported: this.#reported,
      dropped: sum(this.#queues.map(({ dropped }) => dropped)),
      reporterFailures: sum(this.#queues.map(({ failures }) => failures)),
    };
  }

  async flush(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = this.#options.clock.schedule(this.#options.flushTimeoutMs, () => {
      for (const queue of this.#queues) queue.clear();
      late.resolve();
    });
    await Promise.race([this.#idle(), late.promise]);
    timer.cancel();
  }

  /** Over and over, since one reporter may report something to the others. */
  async #idle(): Promise<void> {
    const deliveries = (): Promise<void>[] => this.#queues.flatMap(({ delivery }) => delivery ?? []);
    for (let waiting = deliveries(); waiting.length > 0; waiting = deliveries()) await Promise.all(waiting);
  }
}

function isObject(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
