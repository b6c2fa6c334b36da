import { appInfo, defineModule, logger, metrics, provider, token, spanSinks, type SpanSink } from "@plinth/kernel";
import { createTelemetry, type Telemetry } from "./provider.ts";
import { telemetrySettings } from "./settings.ts";

/** Undefined when no exporter is configured. */
export const telemetry = token("telemetry").of<Telemetry | "off">();

const provideTelemetry = provider({
  provides: telemetry,
  needs: { info: appInfo, settings: telemetrySettings, log: logger, metrics },
  ground: true,
  create: async ({ info, settings, log, metrics: own }) => {
    const endpoint = settings.endpoint ?? (info.environment.OTEL_EXPORTER_OTLP_ENDPOINT || undefined);
    if (endpoint === undefined) return "off";
    return createTelemetry({
      settings: { ...settings, endpoint },
      service: info,
      log: log.named("telemetry"),
      metrics: own,
    });
  },
  stop: async (own) => {
    if (own !== "off") await own.close();
  },
});

const offer = provider({
  provides: spanSinks,
  needs: { own: telemetry },
  create: ({ own }): SpanSink | undefined => (own === "off" ? undefined : own),
});

/** Exports the kernel's spans when a collector is configured; costs nothing when none is. */
export const telemetryModule = defineModule("telemetry", [provideTelemetry, offer]);
