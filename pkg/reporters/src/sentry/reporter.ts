import {
  type ErrorReport,
  type ErrorReporter,
  type Metrics,
  randomHex,
  systemClock,
  withDefaults,
} from "@plinth/kernel";
import { ReporterError } from "../errors.ts";
import { InFlight } from "../in-flight.ts";
import { dsnForm, isDsn } from "./dsn.ts";
import { toSentryEvent } from "./event.ts";
import { checkSentryLimits, sentryDefaults, type SentryLimits, type SentryOptions } from "./options.ts";
import { loadSentrySdk, type SentrySdk } from "./sdk.ts";
import { SentryTransport } from "./transport.ts";

/** Events that are sent at the same time. */
const maxBatch = 10;

export interface SentryReporter extends ErrorReporter {
  /**
   * Resolves when Sentry has taken all of them, those left out by sampling aside.
   * @throws {@link ReporterError} `ERR_REPORTER_REFUSED`, `_UNAVAILABLE`, `_TIMEOUT`, `_PAUSED`, `_DROPPED`, `_CLOSED`; the signal's
   *   reason. Of several failures the first, when all others have ended.
   */
  report(reports: readonly ErrorReport[], context: { readonly signal: AbortSignal }): Promise<void>;
  /** Takes no more. Waits for events under way, each at most `timeoutMs`, and cuts them when `signal` aborts. Safe to call twice. */
  close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/**
 * Sends reports to Sentry by a client of its own: no `init`, no hub, no integrations, nothing patched, and several of them live side by
 * side. Nothing is tried again; pauses that Sentry asks for are kept.
 *
 * @throws {@link ReporterError} `ERR_REPORTER_URL` for what is no DSN, `ERR_REPORTER_PEER` without the package `@sentry/core`.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when a limit is out of range.
 */
export async function createSentryReporter(options: SentryOptions): Promise<SentryReporter> {
  const limits = checkSentryLimits(withDefaults(sentryDefaults, options));
  if (!isDsn(options.dsn.reveal())) {
    throw new ReporterError("ERR_REPORTER_URL", "invalid_argument", `dsn: ${dsnForm}`);
  }
  return openSentryReporter(await loadSentrySdk(), { ...options, ...limits });
}

/** The same with an SDK that is loaded, and options that were checked. */
export function openSentryReporter(sdk: SentrySdk, options: SentryOptions & SentryLimits): SentryReporter {
  return new ClientReporter(sdk, options);
}

class ClientReporter implements SentryReporter {
  readonly name = "sentry";
  readonly maxBatch = maxBatch;
  readonly #sdk: SentrySdk;
  readonly #options: SentryOptions & SentryLimits;
  readonly #client: InstanceType<SentrySdk["ServerRuntimeClient"]>;
  readonly #transport: SentryTransport;
  readonly #count: (outcome: EventOutcome) => void;
  readonly #inFlight = new InFlight(this.name);

  constructor(sdk: SentrySdk, options: SentryOptions & SentryLimits) {
    this.#sdk = sdk;
    this.#options = options;
    const { dsn, environment, release, serverName, ca, timeoutMs, clock = systemClock } = options;
    let transport: SentryTransport | undefined;
    this.#client = new sdk.ServerRuntimeClient({
      dsn: dsn.reveal(),
      ...(environment === undefined ? {} : { environment }),
      ...(release === undefined ? {} : { release }),
      ...(serverName === undefined ? {} : { serverName }),
      platform: "node",
      runtime: { name: "node", version: process.version },
      integrations: [],
      stackParser: sdk.createStackParser(sdk.nodeStackLineParser()),
      transport: ({ url, headers = {} }) =>
        (transport = new SentryTransport({ sdk, url, headers, ca, timeoutMs, clock })),
      sendClientReports: false,
      traceLifecycle: "static", // the other adds an integration
      _metadata: { sdk: { name: "sentry.javascript.core", version: sdk.SDK_VERSION } },
    });
    if (transport === undefined) throw new ReporterError("ERR_REPORTER_URL", "invalid_argument", `dsn: ${dsnForm}`);
    this.#transport = transport;
    this.#count = countEvents(options.metrics);
  }

  report(reports: readonly ErrorReport[], { signal }: { readonly signal: AbortSignal }): Promise<void> {
    return this.#inFlight.track(this.#sendAll(reports, signal));
  }

  async close({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#inFlight.end(signal);
    this.#transport.close();
  }

  async #sendAll(reports: readonly ErrorReport[], signal: AbortSignal): Promise<void> {
    const sending = reports.map((report) => this.#send(report, signal));
    await Promise.allSettled(sending);
    await Promise.all(sending);
  }

  async #send(report: ErrorReport, signal: AbortSignal): Promise<void> {
    const { sampleRatio, random = Math.random } = this.#options;
    if (report.severity !== "fatal" && random() >= sampleRatio) {
      this.#count("sampled_out");
      return;
    }
    try {
      this.#inFlight.closing.throwIfAborted();
      await this.#capture(report, AbortSignal.any([signal, this.#inFlight.cutting]));
      this.#count("sent");
    } catch (error) {
      const isPaused = error instanceof ReporterError && error.code === "ERR_REPORTER_PAUSED";
      this.#count(isPaused ? "paused" : "failed");
      throw error;
    }
  }

  #capture(report: ErrorReport, signal: AbortSignal): Promise<void> {
    const { Scope } = this.#sdk;
    const eventId = randomHex(16);
    const { stackParser } = this.#client.getOptions();
    const event = toSentryEvent(report, eventId, stackParser);
    // scopes of its own: those of the process, if somebody has called `init` there, are about something else
    const scope = new Scope();
    const { traceId, spanId } = report;
    if (traceId !== undefined) {
      scope.setPropagationContext({
        traceId,
        sampleRand: Math.random(),
        ...(spanId === undefined ? {} : { propagationSpanId: spanId }),
      });
    }
    event.sdkProcessingMetadata = { capturedSpanIsolationScope: new Scope() };
    return this.#transport.deliver(eventId, signal, () => {
      this.#client.captureEvent(event, { event_id: eventId }, scope);
    });
  }
}

type EventOutcome = "sent" | "sampled_out" | "paused" | "failed";

function countEvents(metrics: Metrics | undefined): (outcome: EventOutcome) => void {
  if (metrics === undefined) return () => {};
  const events = metrics.counter({
    name: "error_sentry_events_total",
    help: "Error reports for Sentry, by what became of them.",
    labels: ["outcome"],
  });
  return (outcome) => events.inc({ outcome });
}
