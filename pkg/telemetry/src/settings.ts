import { defineSettings, type ValueOf } from "@plinth/kernel";
import { z } from "zod";

export const telemetrySettings = defineSettings(
  "telemetry",
  z.strictObject({
    endpoint: z
      .url({ protocol: /^https?$/ })
      .optional()
      .meta({
        description:
          "Base URL of an OTLP/HTTP collector; `/v1/traces` is added. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`; absent: nothing is exported.",
      }),
    sampleRatio: z.number().min(0).max(1).default(1).meta({ description: "Share of new traces that is recorded." }),
    trustCallerSampling: z.boolean().default(true).meta({
      description:
        "Follow the caller's decision to record a trace. False where callers are not trusted, as at the gateway.",
    }),
    maxQueuedSpans: z
      .number()
      .int()
      .min(1)
      .default(2_048)
      .meta({ description: "Spans waiting for export; more are dropped and counted." }),
    exportIntervalMs: z
      .number()
      .positive()
      .default(1_000)
      .meta({ description: "Longest wait of a span before its export, in ms." }),
    exportTimeoutMs: z
      .number()
      .positive()
      .default(3_000)
      .meta({ description: "Limit of one export, and of the flush at stop, in ms." }),
  }),
);

export type TelemetrySettings = ValueOf<typeof telemetrySettings>;
