import type { Clock } from "../clock.ts";
import type { RedactionOptions } from "../logger/field-rules.ts";
import type { Tracing } from "../tracing/span.ts";
import type { AppError } from "./app-error.ts";
import type { Guarded, GuardOptions } from "./guard.ts";
import { InProcessErrorBus } from "./in-process-bus.ts";

export type ErrorOrigin = "request" | "rpc" | "job" | "timer" | "process" | "lifecycle" | "stream";

export interface ErrorContext {
  readonly origin: ErrorOrigin;
  /** False when nothing dealt with it, as for an uncaught exception. Default true. */
  readonly handled?: boolean;
  /** Default `error`. */
  readonly severity?: "warning" | "error" | "fatal";
  /** Facts for whoever reads the report. What the log hides by name or path is hidden here too. Default none. */
  readonly attributes?: Readonly<Record<string, string | number | boolean>>;
}

export interface ErrorReport {
  /** What of its metadata the log would hide is hidden. */
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
  /**
   * Never throws and never waits. The same error object is one error, however many layers report it: in each request or guarded task,
   * and outside of those for a second. The same fault seen again is counted: its first report comes at once, then one a fold interval.
   */
  report(error: unknown, context: ErrorContext): AppError;
  /**
   * The same function for timers, jobs and event listeners: it never throws or rejects, but reports. Outside a request each run has
   * a trace of its own, so that its report and log lines have ids. What it returns is undefined when it failed.
   * @param name - Of the task: its span's, and the attribute `task` of its reports.
   * @example setInterval(errors.guard("sweep", sweep, { origin: "timer" }), 60_000);
   */
  guard<A extends readonly unknown[], R>(
    name: string,
    fn: (...args: A) => R,
    options?: GuardOptions,
  ): (...args: A) => Guarded<R>;
  /**
   * Gives it every report from now on. Returns how to end that: what then waits for it is dropped.
   * @throws {@link OptionError} `ERR_OPTION_RANGE` when `maxBatch` is no whole number of 1 or more.
   */
  subscribe(reporter: ErrorReporter): () => void;
  stats(): ErrorBusStats;
  /** Resolves when every reporter has taken what was reported, or the flush limit has passed: then the rest is dropped and counted. */
  flush(): Promise<void>;
  /** For a process about to die: gives what waits to those who can take it at once. */
  flushSync(): void;
  /**
   * Flushes, and leaves no timer behind. What is reported later is given at once, not counted for later. Safe to call twice.
   * @param options.signal - Ends the flush when it aborts.
   */
  close(options?: { readonly signal?: AbortSignal }): Promise<void>;
}

export interface ErrorBusStats {
  /** Errors, also those that were counted for a later report. */
  readonly reported: number;
  /** Errors that a report with a count of more than 1 stands for, or will, beside its own. */
  readonly folded: number;
  /** Reports that a reporter did not get: its queue was full, a flush ran out of time, or it failed at them. */
  readonly dropped: number;
  /** Times that a reporter threw, rejected or took too long. */
  readonly reporterFailures: number;
  /** In the order of their subscription. */
  readonly reporters: readonly ReporterStats[];
}

export interface ReporterStats {
  /** With a number where several have the same. */
  readonly name: string;
  /** Reports that wait. */
  readonly queued: number;
  readonly delivered: number;
  readonly dropped: number;
  readonly failures: number;
  /** Whether it is left alone, after failures in a row. */
  readonly open: boolean;
}

/** How a reporter that fails is left alone. */
export interface BreakerOptions {
  /** Failures in a row after which it is, 1 or more. Default 5. */
  readonly breakerFailures?: number;
  /** For how long at first, in milliseconds, above 0; then it is tried once, and the pause doubles with each failure. Default 1_000. */
  readonly breakerPauseMs?: number;
  /** No pause is longer, in milliseconds, above 0. Default 60_000. */
  readonly breakerMaxPauseMs?: number;
}

export interface ErrorBusOptions extends BreakerOptions {
  readonly clock: Clock;
  /** Name of the app, for the reports. Default none: an empty text. */
  readonly service?: string;
  /** What is hidden of attributes and metadata, beside `password`, `token` and the like: as in the log. Default none. */
  readonly redaction?: RedactionOptions;
  /** Makes the spans of guarded tasks. Default: one whose spans only carry ids. */
  readonly tracing?: Tracing;
  /** Called for each error, before anything else is done with it, so it must be quick. Default: nobody. */
  readonly onError?: (origin: ErrorOrigin, code: string) => void;
  /** Called after each call of a reporter, with what it took and whether the reporter has taken the reports. Default: nobody. */
  readonly onDelivery?: (reporter: string, tookMs: number, isTaken: boolean) => void;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: () => number;
  /** Reports waiting for one reporter, 1 or more; when full the oldest that is not fatal is dropped. Default 1_000. */
  readonly maxQueued?: number;
  /** What a reporter may take for one call, in milliseconds, above 0; then it gets the next reports. Default 5_000. */
  readonly reportTimeoutMs?: number;
  /** What a flush may take, in milliseconds, above 0. Default 3_000. */
  readonly flushTimeoutMs?: number;
  /** How long the same fault is counted, in milliseconds, 0 or more, before its next report. 0 reports each error. Default 10_000. */
  readonly foldIntervalMs?: number;
  /** Faults that are counted at the same time, 1 or more; beyond, the one counted longest is reported, and forgotten. Default 1_000. */
  readonly maxFingerprints?: number;
}

/** @throws {@link OptionError} `ERR_OPTION_RANGE` when an option is out of range. */
export function createErrorBus(options: ErrorBusOptions): ErrorBus {
  return new InProcessErrorBus(options);
}
