import type { Meter, MeterProvider } from "@opentelemetry/api";
import type { Logger, Metrics, SpanSink } from "@plinth/kernel";
import type { ReadableSpan, SpanExporter } from "@opentelemetry/sdk-trace";
import type { TelemetrySettings } from "./settings.ts";

export interface TelemetryOptions {
  readonly settings: TelemetrySettings & { readonly endpoint: string };
  /** Resource attributes: what runs. */
  readonly service: { readonly name: string; readonly version: string; readonly instanceId: string };
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Where spans go on their way to a collector, with an end. */
export interface Telemetry extends SpanSink {
  /** Exports what is left, for at most the export's limit. Never rejects: a dead collector must not fail a stop. */
  close(): Promise<void>;
}

/**
 * The OpenTelemetry SDK with an OTLP/HTTP exporter. The queue is bounded; a dead, slow or hanging collector costs requests nothing.
 * The SDK is loaded by this call, not before.
 */
export async function createTelemetry({ settings, service, log, metrics }: TelemetryOptions): Promise<Telemetry> {
  const [api, sdk, { OTLPTraceExporter }, { resourceFromAttributes }] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/sdk-trace"),
    import("@opentelemetry/exporter-trace-otlp-http"),
    import("@opentelemetry/resources"),
  ]);
  const spans = metrics.counter({
    name: "telemetry_spans_total",
    help: "Recorded spans, by what became of them.",
    labels: ["outcome"],
  });
  const exporter = new OTLPTraceExporter({
    url: `${settings.endpoint.replace(/\/+$/, "")}/v1/traces`,
    timeoutMillis: settings.exportTimeoutMs,
  });
  const provider = new sdk.TracerProvider({
    sampler: new sdk.AlwaysOnSampler(), // what is not sampled never comes here
    resource: resourceFromAttributes({
      "service.name": service.name,
      "service.version": service.version,
      "service.instance.id": service.instanceId,
    }),
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter: watched(exporter, log, (outcome, count) => spans.inc({ outcome }, count)),
        maxQueueSize: settings.maxQueuedSpans,
        maxExportBatchSize: Math.min(512, settings.maxQueuedSpans),
        scheduledDelayMillis: settings.exportIntervalMs,
        exportTimeoutMillis: settings.exportTimeoutMs,
        selfObsMeterProvider: queueMeter(api.createNoopMeter(), (count) => spans.inc({ outcome: "dropped" }, count)),
      }),
    ],
  });
  return {
    api,
    getTracer: (...args) => provider.getTracer(...args),
    isSampled: (caller) =>
      caller && settings.trustCallerSampling ? caller.sampled : Math.random() < settings.sampleRatio,
    async close() {
      const limit = Promise.withResolvers<void>();
      const timer = setTimeout(limit.resolve, settings.exportTimeoutMs);
      const flushed = provider
        .shutdown()
        .catch((error: unknown) => log.warn("the last spans were not exported", { error }));
      await Promise.race([flushed, limit.promise]);
      clearTimeout(timer);
    },
  };
}

/** Counts what is exported and lost, and says once when the collector goes away and once when it is back. */
function watched(
  exporter: SpanExporter,
  log: Logger,
  count: (outcome: "exported" | "failed", spans: number) => void,
): SpanExporter {
  let failing = false;
  return {
    export(spans: ReadableSpan[], done) {
      exporter.export(spans, (result) => {
        const { code }: { readonly code: number } = result;
        const failed = code !== 0;
        count(failed ? "failed" : "exported", spans.length);
        if (failed !== failing) {
          failing = failed;
          if (failed)
            log.warn("spans cannot be exported; they are dropped until the collector answers", { error: result.error });
          else log.info("spans are exported again");
        }
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  };
}

/** The SDK tells of spans dropped from its full queue only through a meter: this one listens to that and nothing else. */
function queueMeter(noop: Meter, onDropped: (count: number) => void): MeterProvider {
  // The meter that does nothing is one for the whole process: not to be changed.
  const meter: Meter = {
    createGauge: (name) => noop.createGauge(name),
    createHistogram: (name) => noop.createHistogram(name),
    createUpDownCounter: (name) => noop.createUpDownCounter(name),
    createObservableGauge: (name) => noop.createObservableGauge(name),
    createObservableCounter: (name) => noop.createObservableCounter(name),
    createObservableUpDownCounter: (name) => noop.createObservableUpDownCounter(name),
    addBatchObservableCallback: () => {},
    removeBatchObservableCallback: () => {},
    createCounter: () => ({
      add: (count, attributes) => {
        if (attributes?.["error.type"] === "queue_full") onDropped(count);
      },
    }),
  };
  return { getMeter: () => meter };
}
