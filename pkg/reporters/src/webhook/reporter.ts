import {
  backoffDelayMs,
  type Clock,
  type ErrorReport,
  type ErrorReporter,
  randomHex,
  sleep,
  systemClock,
  withDefaults,
} from "@plinth/kernel";
import { answerError, pausedError, ReporterError } from "../errors.ts";
import { InFlight } from "../in-flight.ts";
import { type PostAnswer, Poster } from "../post.ts";
import { toBody } from "./body.ts";
import { type BatchOutcome, measureWebhook, type WebhookMetrics } from "./metrics.ts";
import { checkLimits, webhookDefaults, type WebhookLimits, type WebhookOptions } from "./options.ts";
import { RetryBudget } from "./retry-budget.ts";
import { parseRetryAfter } from "./retry-after.ts";
import { toTarget, type WebhookTarget } from "./target.ts";

/** Of the waits between tries, in milliseconds. Whatever asks for more makes the batch be given up: the next ones wait as well. */
const backoff = { baseDelayMs: 200, maxDelayMs: 2_000 };

export interface WebhookReporter extends ErrorReporter {
  /**
   * Resolves when all have been taken.
   * @throws {@link ReporterError} `ERR_REPORTER_REFUSED`, `_UNAVAILABLE`, `_TIMEOUT`, `_PAUSED`, `_CLOSED`; the signal's reason.
   */
  report(reports: readonly ErrorReport[], context: { readonly signal: AbortSignal }): Promise<void>;
  /**
   * Takes no more and makes no further try. Waits for requests under way, each at most `timeoutMs`, and cuts them when `signal` aborts.
   * Safe to call twice.
   */
  close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/**
 * Posts reports as JSON ({@link WebhookPayload}) to a URL: a batch at a time, tried again within a budget, then given up and counted.
 *
 * @throws {@link ReporterError} `ERR_REPORTER_URL`, `ERR_REPORTER_TOKEN`.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when a limit is out of range.
 */
export function createWebhookReporter(options: WebhookOptions): WebhookReporter {
  return new HttpWebhook(options);
}

class HttpWebhook implements WebhookReporter {
  readonly name: string;
  readonly maxBatch: number;
  readonly #options: WebhookOptions;
  readonly #limits: WebhookLimits;
  readonly #target: WebhookTarget;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #poster: Poster;
  readonly #budget: RetryBudget;
  readonly #metrics: WebhookMetrics;
  readonly #inFlight: InFlight;
  /** Until then nothing is sent, on the monotonic clock. */
  #pausedUntilMs = -Infinity;

  constructor(options: WebhookOptions) {
    this.#options = options;
    this.#limits = checkLimits(withDefaults(webhookDefaults, options));
    this.#target = toTarget(options.url, options.token);
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#poster = new Poster({ url: this.#target.url, ca: options.ca, clock: this.#clock });
    this.#budget = new RetryBudget(this.#limits.retryRatio);
    this.#metrics = measureWebhook(options.metrics);
    this.name = options.name ?? "webhook";
    this.#inFlight = new InFlight(this.name);
    this.maxBatch = this.#limits.maxBatch;
  }

  report(reports: readonly ErrorReport[], { signal }: { readonly signal: AbortSignal }): Promise<void> {
    return this.#inFlight.track(this.#sendAll(reports, signal));
  }

  async close({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#inFlight.end(signal);
    this.#poster.close();
  }

  async #sendAll(reports: readonly ErrorReport[], signal: AbortSignal): Promise<void> {
    let sent = 0;
    try {
      while (sent < reports.length) {
        const batch = reports.slice(sent, sent + this.maxBatch);
        await this.#sendBatch(batch, signal);
        sent += batch.length;
      }
    } finally {
      if (sent < reports.length) this.#metrics.lost(reports.length - sent);
    }
  }

  async #sendBatch(reports: readonly ErrorReport[], signal: AbortSignal): Promise<void> {
    try {
      await this.#deliver(reports, signal);
      this.#metrics.batch("sent");
    } catch (error) {
      this.#metrics.batch(outcomeOf(error));
      throw error;
    }
  }

  async #deliver(reports: readonly ErrorReport[], signal: AbortSignal): Promise<void> {
    const { retries, maxBodyBytes } = this.#limits;
    this.#refuseWhilePaused();
    this.#budget.deposit();
    const id = randomHex(16);
    const body = toBody({ id, source: this.#options.source ?? {}, reports }, maxBodyBytes);
    for (let tries = 1; ; tries += 1) {
      this.#inFlight.closing.throwIfAborted();
      const failure = await this.#try(id, body, signal);
      if (failure === undefined) return;
      const jitterMs = backoffDelayMs(tries, { ...backoff, random: this.#random });
      const waitMs = Math.max(jitterMs, this.#pausedUntilMs - this.#clock.monotonicMs());
      const isLast = tries > retries || waitMs > backoff.maxDelayMs;
      if (!failure.retryable || isLast || !this.#budget.take()) throw failure;
      await sleep(this.#clock, waitMs, { signal: AbortSignal.any([signal, this.#inFlight.closing]) });
      this.#metrics.retry();
    }
  }

  /**
   * What went wrong with one request; undefined when it was taken.
   * @throws the signal's reason, {@link ReporterError} `ERR_REPORTER_CLOSED`.
   */
  async #try(id: string, body: string, signal: AbortSignal): Promise<ReporterError | undefined> {
    const startedMs = this.#clock.monotonicMs();
    let status: number | undefined;
    try {
      const answer = await this.#poster.post({
        body,
        headers: {
          ...this.#target.headers,
          "content-type": "application/json",
          "idempotency-key": id,
          "user-agent": "plinth",
        },
        timeoutMs: this.#limits.timeoutMs,
        signal: AbortSignal.any([signal, this.#inFlight.cutting]),
      });
      status = answer.status;
      return this.#judge(answer);
    } catch (error) {
      if (error instanceof ReporterError && error.code !== "ERR_REPORTER_CLOSED") return error;
      throw error;
    } finally {
      this.#metrics.request(status, this.#clock.monotonicMs() - startedMs);
    }
  }

  #judge({ status, headers }: PostAnswer): ReporterError | undefined {
    const error = answerError(this.#poster.origin, status, "check the URL, the token, and what the receiver takes");
    if (error?.retryable) {
      const askedMs = parseRetryAfter(headers["retry-after"], this.#clock.now()) ?? 0;
      this.#pausedUntilMs = this.#clock.monotonicMs() + Math.min(askedMs, this.#limits.maxRetryAfterMs);
    }
    return error;
  }

  #refuseWhilePaused(): void {
    const leftMs = this.#pausedUntilMs - this.#clock.monotonicMs();
    if (leftMs > 0) throw pausedError(this.#poster.origin, new Date(this.#clock.now() + leftMs).toISOString());
  }
}

function outcomeOf(error: unknown): BatchOutcome {
  if (!(error instanceof ReporterError) || error.code === "ERR_REPORTER_CLOSED") return "aborted";
  if (error.code === "ERR_REPORTER_PAUSED") return "paused";
  return error.retryable ? "failed" : "refused";
}
