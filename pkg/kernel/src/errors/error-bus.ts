import { currentContext } from "../context.ts";
import type { Clock } from "../clock.ts";
import { AppError, messageOf } from "./app-error.ts";

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
  readonly origin: ErrorOrigin;
  readonly handled: boolean;
  readonly severity: "warning" | "error" | "fatal";
  /** Milliseconds since the Unix epoch. */
  readonly time: number;
  readonly traceId: string | undefined;
  readonly spanId: string | undefined;
  readonly requestId: string | undefined;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
}

/** Takes reports, apart from the request that made them. One that throws or rejects is counted, and hides nothing from the others. */
export interface ErrorReporter {
  readonly name: string;
  report(report: ErrorReport): void | Promise<void>;
}

/** The one path for every error of an app. */
export interface ErrorBus {
  /** Never throws and never waits. The same error object is reported once, however many layers report it. */
  report(error: unknown, context: ErrorContext): AppError;
  subscribe(reporter: ErrorReporter): void;
  stats(): ErrorBusStats;
  /** Resolves when everything reported so far has been taken by every reporter. */
  flush(): Promise<void>;
}

export interface ErrorBusStats {
  readonly reported: number;
  /** Reports lost because the queue was full. */
  readonly dropped: number;
  /** Times that a reporter threw or rejected. */
  readonly reporterFailures: number;
}

export interface ErrorBusOptions {
  readonly clock: Clock;
  /** Reports waiting for the reporters, 1 or more; when full the oldest that is not fatal is dropped. Default 1_000. */
  readonly maxQueued?: number;
}

export function createErrorBus(options: ErrorBusOptions): ErrorBus {
  return new InProcessErrorBus(options.clock, options.maxQueued ?? 1_000);
}

class InProcessErrorBus implements ErrorBus {
  readonly #clock: Clock;
  readonly #maxQueued: number;
  readonly #reporters: ErrorReporter[] = [];
  readonly #seen = new WeakSet<object>();
  #queue: ErrorReport[] = [];
  #delivery: Promise<void> | undefined;
  #reported = 0;
  #dropped = 0;
  #reporterFailures = 0;

  constructor(clock: Clock, maxQueued: number) {
    this.#clock = clock;
    this.#maxQueued = maxQueued;
  }

  report(thrown: unknown, { origin, handled = true, severity = "error", attributes = {} }: ErrorContext): AppError {
    const error = AppError.from(thrown);
    const identity = typeof thrown === "object" && thrown !== null ? thrown : error;
    if (this.#seen.has(identity)) return error;
    this.#seen.add(identity).add(error);
    const context = currentContext();
    this.#enqueue({
      error,
      origin,
      handled,
      severity,
      time: this.#clock.now(),
      traceId: context?.span?.traceId,
      spanId: context?.span?.spanId,
      requestId: context?.requestId,
      attributes,
    });
    return error;
  }

  subscribe(reporter: ErrorReporter): void {
    this.#reporters.push(reporter);
  }

  stats(): ErrorBusStats {
    return { reported: this.#reported, dropped: this.#dropped, reporterFailures: this.#reporterFailures };
  }

  async flush(): Promise<void> {
    while (this.#delivery) await this.#delivery;
  }

  #enqueue(report: ErrorReport): void {
    this.#reported++;
    if (this.#queue.length >= this.#maxQueued) {
      const oldest = this.#queue.findIndex(({ severity }) => severity !== "fatal");
      this.#queue.splice(Math.max(0, oldest), 1);
      this.#dropped++;
    }
    this.#queue.push(report);
    this.#delivery ??= this.#deliver();
  }

  async #deliver(): Promise<void> {
    await new Promise(setImmediate); // out of the request that reports
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      for (const report of batch) await Promise.all(this.#reporters.map((reporter) => this.#give(reporter, report)));
    }
    this.#delivery = undefined;
  }

  async #give(reporter: ErrorReporter, report: ErrorReport): Promise<void> {
    try {
      await reporter.report(report);
    } catch (error) {
      this.#reporterFailures++;
      // Not through the bus: a reporter's failure must not come back to it.
      process.stderr.write(`error reporter ${reporter.name} failed: ${messageOf(error)}\n`);
    }
  }
}
