import type { Logger, Metrics, SpanSink } from "@plinth/kernel";
import { declareMeters } from "./meters.ts";
import { queueMeter } from "./queue-meter.ts";
import type { TelemetrySettings } from "./settings.ts";
import { WatchedExporter } from "./watched-exporter.ts";

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
  const meters = declareMeters(metrics, settings.maxQueuedSpans);
  const exporter = new WatchedExporter(
    new OTLPTraceExporter({
      url: `${settings.endpoint.replace(/\/+$/, "")}/v1/traces`,
      timeoutMillis: settings.exportTimeoutMs,
    }),
    { log, meters },
  );
  const provider = new sdk.TracerProvider({
    sampler: new sdk.AlwaysOnSampler(), // what is not sampled never comes here
    resource: resourceFromAttributes({
      "service.name": service.name,
      "service.version": service.version,
      "service.instance.id": service.instanceId,
    }),
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter,
        maxQueueSize: settings.maxQueuedSpans,
        maxExportBatchSize: Math.min(512, settings.maxQueuedSpans),
        scheduledDelayMillis: settings.exportIntervalMs,
        exportTimeoutMillis: settings.exportTimeoutMs,
        selfObsMeterProvider: queueMeter(api.createNoopMeter(), meters),
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
      // what a failed export means has been told by then
      await Promise.race([provider.shutdown().catch(() => {}), limit.promise]);
      clearTimeout(timer);
      const lost = exporter.abandon();
      if (lost > 0)
        log.warn("the last spans were not exported in time", { spans: lost, limitMs: settings.exportTimeoutMs });
    },
  };
}
