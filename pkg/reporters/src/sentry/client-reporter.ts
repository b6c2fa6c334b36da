import { type ErrorReport, type Metrics, randomHex, systemClock } from "@plinth/kernel";
import { ReporterError } from "../errors.ts";
import { InFlight } from "../in-flight.ts";
import { dsnForm } from "./dsn.ts";
import { toSentryEvent } from "./event.ts";
import type { SentryLimits, SentryOptions, SentryReporter } from "./options.ts";
import type { SentrySdk } from "./sdk.ts";
import { SentryTransport } from "./transport.ts";

/** Events that are sent at the same time. */
const maxBatch = 10;

/** {@link createSentryReporter} with an SDK that is loaded, and options that were checked. */
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
