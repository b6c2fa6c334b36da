import type { Metrics } from "@plinth/kernel";

/** What the export of spans tells of itself in numbers. */
export interface Meters {
  exported(outcome: "exported" | "failed", spans: number, tookMs: number): void;
  /** The queue was full. */
  dropped(spans: number): void;
  /** Shows at each scrape how many spans wait. */
  watchQueue(length: () => number): void;
}

export function declareMeters(metrics: Metrics, maxQueuedSpans: number): Meters {
  const total = metrics.counter({
    name: "telemetry_spans_total",
    help: "Recorded spans, by what became of them: exported, failed with their export, dropped because the queue was full.",
    labels: ["outcome"],
  });
  for (const outcome of ["exported", "failed", "dropped"]) total.inc({ outcome }, 0);
  const duration = metrics.histogram({
    name: "telemetry_export_duration_seconds",
    help: "How long exports took, each of a batch of spans.",
    labels: ["outcome"],
  });
  metrics
    .gauge({ name: "telemetry_max_queued_spans", help: "Spans that may wait for export; more are dropped." })
    .set({}, maxQueuedSpans);
  return {
    exported(outcome, spans, tookMs) {
      total.inc({ outcome }, spans);
      duration.observe({ outcome }, tookMs / 1e3);
    },
    dropped: (spans) => total.inc({ outcome: "dropped" }, spans),
    watchQueue: (length) =>
      void metrics.gauge({
        name: "telemetry_queued_spans",
        help: "Spans that wait for export.",
        collect: (gauge) => gauge.set({}, length()),
      }),
  };
}
