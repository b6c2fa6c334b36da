import type { Clock } from "../clock.ts";
import { currentContext, runOutsideContext } from "../context.ts";
import { FieldRules } from "../logger/field-rules.ts";
import type { Tracing } from "../tracing/span.ts";
import { recordException } from "../tracing/spans.ts";
import { createTracing } from "../tracing/tracing.ts";
import { AppError } from "./app-error.ts";
import { unwrapped } from "./brand.ts";
import type {
  ErrorBus,
  ErrorBusOptions,
  ErrorBusStats,
  ErrorContext,
  ErrorOrigin,
  ErrorReport,
  ErrorReporter,
} from "./error-bus.ts";
import { type Draft, Folding } from "./folding.ts";
import { guarded, type Guarded, type GuardOptions } from "./guard.ts";
import { requireNumber, requireWhole, withDefaults } from "./option-error.ts";
import { cleanAttributes, cleanError } from "./report-fields.ts";
import { type DeliveryOptions, ReporterQueue } from "./reporter-queue.ts";
import { Sightings } from "./sightings.ts";

type Defaults = Required<
  Omit<ErrorBusOptions, "clock" | "service" | "redaction" | "tracing" | "onError" | "onDelivery">
>;
const defaults: Defaults = Object.freeze({
  maxQueued: 1_000,
  reportTimeoutMs: 5_000,
  flushTimeoutMs: 3_000,
  foldIntervalMs: 10_000,
  maxFingerprints: 1_000,
  breakerFailures: 5,
  breakerPauseMs: 1_000,
  breakerMaxPauseMs: 60_000,
  random: Math.random,
});

/** For callers without types. */
const unknownContext: ErrorContext = Object.freeze({ origin: "process" });

/** Reports are counted and queued by whoever reports; reporters take them later, each from a queue of its own. */
export class InProcessErrorBus implements ErrorBus {
  readonly #clock: Clock;
  readonly #service: string;
  readonly #rules: FieldRules;
  readonly #tracing: Tracing;
  readonly #onError: ((origin: ErrorOrigin, code: string) => void) | undefined;
  readonly #flushTimeoutMs: number;
  readonly #delivery: DeliveryOptions;
  readonly #folding: Folding;
  readonly #queues = new Set<ReporterQueue>();
  readonly #sightings = new Sightings();
  #isWaking = false;
  #isClosed = false;
  #reported = 0;
  /** Of reporters that are no more. */
  #ended = { dropped: 0, failures: 0 };

  constructor({ clock, service = "", redaction, tracing, onError, onDelivery, ...given }: ErrorBusOptions) {
    const options = withDefaults(defaults, given);
    for (const name of ["maxQueued", "maxFingerprints", "breakerFailures"] as const) {
      requireWhole(name, options[name], { min: 1 });
    }
    for (const name of ["reportTimeoutMs", "flushTimeoutMs", "breakerPauseMs", "breakerMaxPauseMs"] as const) {
      requireNumber(name, options[name], { min: 1 });
    }
    requireNumber("foldIntervalMs", options.foldIntervalMs, { min: 0 });
    this.#clock = clock;
    this.#service = service;
    this.#rules = new FieldRules(redaction);
    this.#tracing = tracing ?? createTracing();
    this.#onError = onError;
    this.#flushTimeoutMs = options.flushTimeoutMs;
    this.#delivery = { clock, onDelivery, ...options };
    this.#folding = new Folding({ clock, ...options, give: (report) => this.#publish(report) });
  }

  report(thrown: unknown, context: ErrorContext = unknownContext): AppError {
    try {
      return this.#report(thrown, context);
    } catch {
      // an error or a context whose fields change or throw as they are read
      const error = AppError.internal("ERR_INTERNAL", "an error that cannot be read", { cause: thrown });
      return this.#report(error, unknownContext);
    }
  }

  #report(thrown: unknown, { origin, handled = true, severity = "error", attributes }: ErrorContext): AppError {
    const error = AppError.from(thrown);
    // a layer may have wrapped it on the way, and another may report what was inside
    const root = unwrapped(error);
    const identity = isObject(root) ? root : error;
    const context = currentContext();
    if (!this.#sightings.isNew(identity, context?.root ?? context, this.#clock.monotonicMs())) return error;
    this.#reported++;
    this.#count(origin, error.code);
    const span = context?.span;
    recordException(span, error);
    const report: Draft = {
      error,
      service: this.#service,
      fingerprint: "",
      count: 1,
      origin,
      handled,
      severity,
      time: this.#clock.now(),
      traceId: span?.traceId,
      spanId: span?.spanId,
      requestId: context?.requestId,
      attributes: cleanAttributes(attributes, this.#rules),
    };
    if (severity === "fatal") this.#folding.flush(); // what came before it is told before it
    const due = this.#folding.take(report, root);
    if (due) this.#publish(due);
    if (severity === "fatal") this.flushSync();
    return error;
  }

  #count(origin: ErrorOrigin, code: string): void {
    try {
      this.#onError?.(origin, code);
    } catch {
      // what counts must not cost the report
    }
  }

  #publish(report: ErrorReport): void {
    const error = cleanError(report.error, this.#rules);
    const shown = error === report.error ? report : { ...report, error };
    for (const queue of this.#queues) queue.push(shown);
    if (this.#isWaking || this.#queues.size === 0) return;
    this.#isWaking = true;
    // out of the request that reports, and out of the way of everything else
    runOutsideContext(() => setImmediate(() => this.#wake()));
  }

  #wake(): void {
    this.#isWaking = false;
    for (const queue of this.#queues) queue.wake();
  }

  guard<A extends readonly unknown[], R>(
    name: string,
    fn: (...args: A) => R,
    options?: GuardOptions,
  ): (...args: A) => Guarded<R> {
    return guarded(name, fn, { ...options, errors: this, tracing: this.#tracing });
  }

  subscribe(reporter: ErrorReporter): () => void {
    requireWhole("maxBatch", reporter.maxBatch ?? 1, { min: 1 });
    const names = new Set(Array.from(this.#queues, ({ name }) => name));
    let name = reporter.name;
    for (let number = 2; names.has(name); number++) name = `${reporter.name} ${number}`;
    const queue = new ReporterQueue(reporter, name, this.#delivery);
    if (this.#isClosed) queue.close();
    this.#queues.add(queue);
    return () => {
      if (!this.#queues.delete(queue)) return;
      queue.end();
      const { dropped, failures } = queue.stats();
      this.#ended = { dropped: this.#ended.dropped + dropped, failures: this.#ended.failures + failures };
    };
  }

  stats(): ErrorBusStats {
    const reporters = Array.from(this.#queues, (queue) => queue.stats());
    return {
      reported: this.#reported,
      folded: this.#folding.folded,
      dropped: reporters.reduce((total, { dropped }) => total + dropped, this.#ended.dropped),
      reporterFailures: reporters.reduce((total, { failures }) => total + failures, this.#ended.failures),
      reporters,
    };
  }

  flush(): Promise<void> {
    return this.#flush();
  }

  async #flush(signal?: AbortSignal): Promise<void> {
    this.#folding.flush();
    const over = new AbortController();
    const late = Promise.withResolvers<void>();
    const giveUp = (): void => {
      over.abort();
      for (const queue of this.#queues) queue.clear();
      late.resolve();
    };
    const timer = this.#clock.schedule(this.#flushTimeoutMs, giveUp);
    signal?.addEventListener("abort", giveUp, { once: true });
    if (signal?.aborted) giveUp();
    await Promise.race([runOutsideContext(() => this.#drain(over.signal)), late.promise]);
    timer.cancel();
    signal?.removeEventListener("abort", giveUp);
  }

  /** Over and over, since one reporter may report something to the others. */
  async #drain(over: AbortSignal): Promise<void> {
    while (!over.aborted && [...this.#queues].some(({ isBusy }) => isBusy)) {
      await Promise.all(Array.from(this.#queues, (queue) => queue.drain()));
      this.#folding.flush();
    }
  }

  flushSync(): void {
    this.#folding.flush();
    for (const queue of this.#queues) queue.writeSync();
  }

  async close({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#isClosed = true;
    this.#folding.close();
    await this.#flush(signal);
    for (const queue of this.#queues) queue.close();
  }
}

function isObject(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}
