import type { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { type Logger, type Metrics, randomHex, type SpanSink } from "@plinth/kernel";
import type { ExportOptions } from "./export-options.ts";
import { declareMeters } from "./meters.ts";
import { queueMeter } from "./queue-meter.ts";
import { describeResource, type ServiceFacts } from "./resource.ts";
import { samplerOf } from "./sampler.ts";
import { WatchedExporter } from "./watched-exporter.ts";

type OTLPExporterNodeConfig = NonNullable<ConstructorParameters<typeof OTLPTraceExporter>[0]>;

export interface TelemetryOptions {
  /** As {@link exportOptionsOf} gives them. */
  readonly settings: ExportOptions;
  /** Resource attributes: what runs. */
  readonly service: ServiceFacts;
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
  const [api, sdk, otlp, resources] = await Promise.all([
    import("@opentelemetry/api"),
    import("@opentelemetry/sdk-trace"),
    import("@opentelemetry/exporter-trace-otlp-http"),
    import("@opentelemetry/resources"),
  ]);
  const { exportTimeoutMs, maxQueuedSpans, limits } = settings;
  const meters = declareMeters(metrics, maxQueuedSpans);
  const exporter = new WatchedExporter(new otlp.OTLPTraceExporter(exporterConfig(settings)), { log, meters });
  const ids = new Ids();
  const provider = new sdk.TracerProvider({
    idGenerator: ids,
    sampler: new sdk.AlwaysOnSampler(), // what is not sampled never comes here
    resource: resources
      .defaultResource()
      .merge(resources.resourceFromAttributes(await describeResource(service, settings.attributes))),
    spanLimits: Object.fromEntries(Object.entries(limits).filter(([, limit]) => limit !== undefined)),
    spanProcessors: [
      new sdk.BatchSpanProcessor({
        exporter,
        maxQueueSize: maxQueuedSpans,
        maxExportBatchSize: settings.maxBatchSpans,
        scheduledDelayMillis: settings.exportIntervalMs,
        exportTimeoutMillis: exportTimeoutMs,
        selfObsMeterProvider: queueMeter(api.createNoopMeter(), meters),
      }),
    ],
  });
  return {
    api,
    getTracer: (...args) => provider.getTracer(...args),
    isSampled: samplerOf(settings),
    useTraceId: (traceId) => ids.use(traceId),
    async close() {
      const limit = Promise.withResolvers<void>();
      const timer = setTimeout(limit.resolve, exportTimeoutMs);
      // what a failed export means has been told by then
      await Promise.race([provider.shutdown().catch(() => {}), limit.promise]);
      clearTimeout(timer);
      const lost = exporter.abandon();
      if (lost > 0) log.warn("the last spans were not exported in time", { spans: lost, limitMs: exportTimeoutMs });
    },
  };
}

/** Certificates are always verified: nothing here turns that off. */
function exporterConfig({ url, headers, exportTimeoutMs, compression, tls }: ExportOptions): OTLPExporterNodeConfig {
  const config: OTLPExporterNodeConfig = {
    url,
    timeoutMillis: exportTimeoutMs,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.reveal()])),
    httpAgentOptions: { keepAlive: true, ...tls },
  };
  Reflect.set(config, "compression", compression); // an enumeration of a package that only the exporter stands on
  return config;
}

/** Ids of spans, and of the trace that was decided on before the SDK heard of it. */
class Ids {
  #next: string | undefined;

  use(traceId: string): void {
    this.#next = traceId;
  }

  generateTraceId(): string {
    const traceId = this.#next ?? randomHex(16);
    this.#next = undefined;
    return traceId;
  }

  generateSpanId(): string {
    return randomHex(8);
  }
}
