import {
  AppError,
  backoffDelayMs,
  type Clock,
  requireNumber,
  requireWhole,
  runOutsideContext,
  systemClock,
  withDefaults,
} from "@plinth/kernel";
import { AuditError } from "./errors.ts";
import { aborted, closed, full, isRefusal, lost, noEvent, refusal, toEvent, unconfirmed } from "./recorder-parts.ts";
import { RecorderCounts } from "./recorder-metrics.ts";
import {
  type AuditLoss,
  type AuditRecorder,
  auditRecorderDefaults,
  type AuditRecorderOptions,
  type AuditRecorderStats,
  type NewAuditEvent,
} from "./recorder-options.ts";
import { RecorderQueue, sizeOf, type Waiting } from "./recorder-queue.ts";
import { Spill } from "./spill.ts";
import type { AuditEvent } from "./types.ts";

/** No pause is longer while the recorder is being closed, in milliseconds. */
const closingPauseMs = 100;

/**
 * Records events by batches, apart from whoever does what they tell of: by default nothing that becomes of them fails or slows a caller,
 * and what is lost is counted. A failed call is made again, one at a time and with growing pauses, as long as an event's `retryMs` allows;
 * Audit keeps an event once, however often it comes.
 *
 * @throws OptionError `ERR_OPTION_RANGE`.
 * @example
 * const audit = createAuditRecorder({ client, source: { service: "notes" } });
 * await audit.record({ actor: { type: "user", id: "1" }, action: "notes.delete", outcome: "success" });
 */
export function createAuditRecorder(options: AuditRecorderOptions): AuditRecorder {
  return new Recorder(options);
}

type Settings = { -readonly [K in keyof typeof auditRecorderDefaults]: Required<AuditRecorderOptions>[K] };

class Recorder implements AuditRecorder {
  readonly #options: AuditRecorderOptions;
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #queue: RecorderQueue;
  readonly #counts = new RecorderCounts();
  readonly #spill: Spill | undefined;
  /** What is done with the file, one after the other. */
  #spilling: Promise<void> = Promise.resolve();
  #pump: Promise<void> | undefined;
  #failures = 0;
  #wasQueuesTurn = false;
  /** Ends the wait for more events, or for the next try. */
  #hurry = Promise.withResolvers<void>();
  /** Aborts when nothing more is to be tried. */
  readonly #end = new AbortController();
  #closing: Promise<void> | undefined;

  constructor(options: AuditRecorderOptions) {
    const settings = withDefaults<Settings>(auditRecorderDefaults, options);
    const { maxQueue, maxQueueBytes, maxBatch, confirmMs, timeoutMs, maxRetryDelayMs, lingerMs, retryMs } = settings;
    requireWhole("maxQueue", maxQueue, { min: 1 });
    requireWhole("maxQueueBytes", maxQueueBytes, { min: 1_024 });
    requireWhole("maxBatch", maxBatch, { min: 1, max: 500 });
    for (const [name, value] of Object.entries({ confirmMs, timeoutMs, maxRetryDelayMs }))
      requireNumber(name, value, { min: 1 });
    for (const [name, value] of Object.entries({ lingerMs, retryMs })) requireNumber(name, value, { min: 0 });
    if (options.spill?.maxBytes !== undefined) requireWhole("spill.maxBytes", options.spill.maxBytes, { min: 1_024 });
    this.#options = options;
    this.#settings = settings;
    this.#clock = options.clock ?? systemClock;
    this.#queue = new RecorderQueue(settings);
    if (options.metrics) this.#counts.declareIn(options.metrics, () => this.stats());
    if (options.spill === undefined) return;
    const spill = new Spill(options.spill);
    this.#spill = spill;
    this.#spilling = spill.open().catch((error: unknown) => this.#tellSpill(error));
    void this.#spilling.then(() => this.#wake());
  }

  record(given: NewAuditEvent): Promise<void> {
    if (this.#settings.delivery === "background") {
      this.#take(given, () => {});
      return Promise.resolve();
    }
    const kept = Promise.withResolvers<void>();
    const { confirmMs } = this.#settings;
    const late = this.#clock.schedule(confirmMs, () => kept.reject(unconfirmed(confirmMs)));
    this.#take(given, (error) => (error === undefined ? kept.resolve() : kept.reject(error)));
    return kept.promise.finally(() => late.cancel());
  }

  async flush({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#wake();
    this.#hurry.resolve();
    await Promise.race([this.#idle(), aborted(signal)]);
  }

  stats(): AuditRecorderStats {
    const { kept, lost } = this.#counts;
    return { kept, lost: { ...lost }, waiting: this.#queue.size, spilledBytes: this.#spill?.bytes ?? 0 };
  }

  close({ signal = AbortSignal.abort() }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    return (this.#closing ??= this.#close(signal));
  }

  async #close(signal: AbortSignal): Promise<void> {
    await this.flush({ signal });
    this.#end.abort();
    this.#hurry.resolve();
    await this.#pump;
    await this.#spillOrLose(this.#queue.drop(this.#queue.size), "closed");
    await this.#spilling;
    await this.#spill?.close().catch((error: unknown) => this.#tellSpill(error));
  }

  async #idle(): Promise<void> {
    for (let pump = this.#pump; pump !== undefined; pump = this.#pump) await pump;
    await this.#spilling;
  }

  #take(given: NewAuditEvent, done: Waiting["done"]): void {
    const item = this.#itemOf(given, done);
    if (item === undefined) return;
    if (this.#closing !== undefined) {
      this.#lose([item], "closed", closed());
    } else if (this.#queue.hasRoom(item.bytes)) {
      this.#queue.push(item);
      this.#wake();
      if (this.#failures === 0 && this.#queue.size >= this.#settings.maxBatch) this.#hurry.resolve();
    } else void this.#spillOrLose([item], "full");
  }

  /** undefined for what is no event, which is told. */
  #itemOf(given: NewAuditEvent, done: Waiting["done"]): Waiting | undefined {
    try {
      const event = toEvent(given, this.#options, this.#clock.now());
      return { event, bytes: sizeOf(event), sinceMs: this.#clock.monotonicMs(), done };
    } catch (cause) {
      this.#count("refused", 1, cause);
      done(noEvent(cause));
      return undefined;
    }
  }

  #wake(): void {
    if (this.#pump !== undefined || this.#end.signal.aborted) return;
    if (this.#queue.size === 0 && !this.#spill?.bytes) return;
    // what is sent is no part of the request that it tells of
    this.#pump = runOutsideContext(() => this.#run()).finally(() => {
      this.#pump = undefined;
      this.#wake();
    });
  }

  async #run(): Promise<void> {
    const { maxBatch, delivery, lingerMs } = this.#settings;
    if (delivery === "background" && this.#queue.size < maxBatch && this.#queue.size > 0) await this.#pause(lingerMs);
    while (!this.#end.signal.aborted && (this.#queue.size > 0 || this.#spill?.bytes)) {
      // by turns, so that neither waits for the end of the other
      const isSpillsTurn = Boolean(this.#spill?.bytes) && (this.#queue.size === 0 || this.#wasQueuesTurn);
      this.#wasQueuesTurn = !isSpillsTurn;
      const error = isSpillsTurn ? await this.#sendSpilled() : await this.#sendFirst();
      this.#failures = error === undefined ? 0 : this.#failures + 1;
      if (error === undefined) continue;
      this.#counts.failedCalls += 1;
      await this.#giveUpOld();
      await this.#pause(Math.max(1, this.#delayMs()));
    }
  }

  #delayMs(): number {
    const { random = Math.random } = this.#options;
    return backoffDelayMs(this.#failures, { maxDelayMs: this.#settings.maxRetryDelayMs, random });
  }

  async #giveUpOld(): Promise<void> {
    const old = this.#queue.olderThan(this.#clock.monotonicMs() - this.#settings.retryMs);
    if (old > 0) await this.#spillOrLose(this.#queue.drop(old), "expired");
  }

  async #sendFirst(): Promise<AppError | undefined> {
    const batch = this.#queue.first(this.#settings.maxBatch);
    const outcome = await this.#send(batch.map(({ event }) => event));
    if (AppError.is(outcome)) return outcome;
    this.#settle(outcome);
    for (const [at, item] of this.#queue.drop(batch.length).entries()) item.done(outcome[at]);
    return undefined;
  }

  async #sendSpilled(): Promise<AppError | undefined> {
    const spill = this.#spill;
    try {
      const batch = await this.#withFile(() => spill?.read(this.#settings.maxBatch));
      if (batch === undefined) return undefined;
      const outcome = batch.events.length === 0 ? [] : await this.#send(batch.events);
      if (AppError.is(outcome)) return outcome;
      await this.#withFile(() => spill?.done(batch));
      this.#settle(outcome);
      if (batch.damaged > 0) this.#count("spill_damaged", batch.damaged);
      return undefined;
    } catch (error) {
      this.#tellSpill(error);
      return AppError.from(error);
    }
  }

  /** @returns for each event nothing or why it is lost; or why none of them is known to be kept. */
  async #send(events: readonly AuditEvent[]): Promise<readonly (Error | undefined)[] | AppError> {
    const { client } = this.#options;
    try {
      const results = await client.recordBatch(events, {
        timeoutMs: this.#settings.timeoutMs,
        signal: this.#end.signal,
      });
      return events.map((_, at) => {
        const error = results[at]?.error;
        return error && refusal(`${error.code}: ${error.message}`);
      });
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (!isRefusal(error)) return error;
      if (events.length === 1) return [refusal(`${error.code}: ${error.message}`, error)];
      // one of them is what it does not take, or they are too much together
      const middle = events.length >> 1;
      const first = await this.#send(events.slice(0, middle));
      const second = AppError.is(first) ? first : await this.#send(events.slice(middle));
      return AppError.is(first) || AppError.is(second) ? error : [...first, ...second];
    }
  }

  #settle(outcome: readonly (Error | undefined)[]): void {
    for (const error of outcome) {
      if (error === undefined) this.#counts.kept += 1;
      else this.#count("refused", 1, error);
    }
  }

  /** To the spill, if there is one and as far as it has room. */
  async #spillOrLose(items: readonly Waiting[], reason: "full" | "expired" | "closed"): Promise<void> {
    const spill = this.#spill;
    if (spill === undefined || items.length === 0) {
      this.#lose(items, reason);
      return;
    }
    try {
      const written = await this.#withFile(() => spill.append(items.map(({ event }) => event)));
      for (const { done } of items.slice(0, written)) done();
      this.#lose(items.slice(written), reason);
    } catch (error) {
      this.#lose(items, "spill_failed", AppError.from(error));
    }
    this.#wake();
  }

  #lose(items: readonly Waiting[], reason: AuditLoss, cause?: AppError): void {
    if (items.length === 0) return;
    this.#count(reason, items.length, cause);
    const error = reason === "full" ? full() : (cause ?? lost(reason));
    for (const { done } of items) done(error);
  }

  #count(reason: AuditLoss, by: number, cause?: unknown): void {
    this.#counts.lost[reason] += by;
    const text = `${by} audit ${by === 1 ? "event is" : "events are"} lost: ${reason}`;
    const error = new AuditError("ERR_AUDIT_LOST", "data_loss", text, { cause, metadata: { reason } });
    this.#options.errors?.report(error, { origin: "job" });
  }

  #tellSpill(cause: unknown): void {
    const text = "the spill of the audit recorder cannot be used";
    const error = new AuditError("ERR_AUDIT_SPILL", "unavailable", text, { cause });
    this.#options.errors?.report(error, { origin: "job" });
  }

  /** One after the other: what is read is not written at the same time. */
  #withFile<T>(work: () => Promise<T> | undefined): Promise<T | undefined> {
    const result = this.#spilling.then(work);
    this.#spilling = result.then(
      () => {},
      () => {}, // whoever asked for it hears of it
    );
    return result;
  }

  async #pause(ms: number): Promise<void> {
    const over = Promise.withResolvers<void>();
    if (this.#end.signal.aborted) return;
    this.#hurry = Promise.withResolvers();
    const limitMs = this.#closing === undefined ? ms : Math.min(ms, closingPauseMs);
    const timer = this.#clock.schedule(limitMs, over.resolve, { keepAlive: false });
    await Promise.race([over.promise, this.#hurry.promise]);
    timer.cancel();
  }
}
