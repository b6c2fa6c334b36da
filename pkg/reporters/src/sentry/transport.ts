import type { Clock } from "@plinth/kernel";
import type { Envelope, Transport } from "@sentry/core";
import { answerError, pausedError, ReporterError } from "../errors.ts";
import { Poster } from "../post.ts";
import type { SentrySdk } from "./sdk.ts";

export interface SentryTransportOptions {
  readonly sdk: SentrySdk;
  /** The envelope endpoint, as the client makes it of the DSN. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Certificates to trust instead of Node's own, as PEM. */
  readonly ca: string | undefined;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

interface Delivery {
  readonly signal: AbortSignal;
  sent?: Promise<void>;
}

/** Posts envelopes, and tells whoever waits for an event what became of it: the client itself keeps failures for itself. */
export class SentryTransport implements Transport {
  readonly #options: SentryTransportOptions;
  readonly #poster: Poster;
  readonly #deliveries = new Map<string, Delivery>();
  #limits: Record<string, number> = {};

  constructor(options: SentryTransportOptions) {
    this.#options = options;
    this.#poster = new Poster({ url: new URL(options.url), ca: options.ca, clock: options.clock });
  }

  /**
   * Settles as the sending of one event does, which `capture` hands to the client.
   * @throws {@link ReporterError} `ERR_REPORTER_DROPPED`, `_PAUSED`, `_REFUSED`, `_TIMEOUT`, `_UNAVAILABLE`; the signal's reason.
   */
  async deliver(eventId: string, signal: AbortSignal, capture: () => void): Promise<void> {
    const delivery: Delivery = { signal };
    this.#deliveries.set(eventId, delivery);
    try {
      capture(); // with nothing in its way that waits, the client sends before it returns
      if (delivery.sent === undefined) throw droppedError();
      await delivery.sent;
    } finally {
      this.#deliveries.delete(eventId);
    }
  }

  /** For the client. */
  async send(envelope: Envelope): Promise<object> {
    const [header] = envelope;
    const delivery = this.#deliveries.get(String("event_id" in header ? header.event_id : ""));
    if (!delivery) return {}; // none of ours: nobody would hear of it
    delivery.sent = this.#post(envelope, delivery.signal);
    await delivery.sent.catch(() => {}); // whoever waits for the event has it
    return {};
  }

  /** For the client; reports are waited for by whoever makes them. */
  async flush(): Promise<boolean> {
    return true;
  }

  close(): void {
    this.#poster.close();
  }

  async #post(envelope: Envelope, signal: AbortSignal): Promise<void> {
    const { sdk, headers, timeoutMs, clock } = this.#options;
    const { origin } = this.#poster;
    const now = clock.now();
    if (sdk.isRateLimited(this.#limits, "error", now)) {
      const until = this.#limits.error || this.#limits.all || now;
      throw pausedError(origin, new Date(until).toISOString());
    }
    const answer = await this.#poster.post({
      body: sdk.serializeEnvelope(envelope),
      headers: { ...headers, "content-type": "application/x-sentry-envelope" },
      timeoutMs,
      signal,
    });
    const asked = {
      "x-sentry-rate-limits": String(answer.headers["x-sentry-rate-limits"] ?? "") || null,
      "retry-after": answer.headers["retry-after"] ?? null,
    };
    this.#limits = sdk.updateRateLimits(this.#limits, { statusCode: answer.status, headers: asked }, clock.now());
    const error = answerError(origin, answer.status, "check the DSN, and what Sentry says of this project");
    if (error) throw error;
  }
}

function droppedError(): ReporterError {
  return new ReporterError("ERR_REPORTER_DROPPED", "internal", "Sentry's client dropped the event without sending it");
}
