import { defineSettings, secretString, type ValueOf } from "@plinth/kernel";
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
    headers: z.record(z.string(), secretString("Value of the header.")).optional().meta({
      description:
        "Sent with each export, for instance a key of the collector's. Default: `OTEL_EXPORTER_OTLP_HEADERS`.",
    }),
    sampleRatio: z.number().min(0).max(1).optional().meta({
      description: "Share of new traces that is recorded. Default: as `OTEL_TRACES_SAMPLER` says, else 1.",
    }),
    trustCallerSampling: z.enum(["trusted", "never"]).optional().meta({
      description:
        "Whether to record a trace that comes in: as its caller does (`trusted`), or by its id (`never`). Only those of `http.trustedPeers` and `grpc.trustedPeers` come in; for strangers a trace begins here, with a link to theirs. Default: `never` where `OTEL_TRACES_SAMPLER` is one that asks no parent, else `trusted`.",
    }),
    maxQueuedSpans: z.number().int().min(1).max(1_000_000).optional().meta({
      description:
        "Spans waiting for export; more are dropped and counted. Default: `OTEL_BSP_MAX_QUEUE_SIZE`, else 2048.",
    }),
    exportIntervalMs: z.number().positive().max(3_600_000).optional().meta({
      description: "Longest wait of a span before its export, in ms. Default: `OTEL_BSP_SCHEDULE_DELAY`, else 1000.",
    }),
    exportTimeoutMs: z.number().positive().max(600_000).optional().meta({
      description:
        "Limit of one export with all its tries, and of the flush at stop, in ms. Default: `OTEL_EXPORTER_OTLP_TIMEOUT`, else 3000.",
    }),
  }),
);

export type TelemetrySettings = ValueOf<typeof telemetrySettings>;
