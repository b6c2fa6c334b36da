import type { Metrics } from "@plinth/kernel";
import { type AuditLoss, auditLosses, type AuditRecorderStats } from "./recorder-options.ts";

/** What became of events. */
export class RecorderCounts {
  kept = 0;
  failedCalls = 0;
  readonly lost: Record<AuditLoss, number> = {
    full: 0,
    expired: 0,
    refused: 0,
    closed: 0,
    spill_failed: 0,
    spill_damaged: 0,
  };

  /** Shows them, and what waits, at each scrape. */
  declareIn(metrics: Metrics, stats: () => AuditRecorderStats): void {
    metrics.counter({
      name: "audit_recorder_kept_events_total",
      help: "Events that Audit has taken and keeps.",
      collect: (counter) => counter.set({}, this.kept),
    });
    metrics.counter({
      name: "audit_recorder_lost_events_total",
      help: "Events that Audit will never have, by why.",
      labels: ["reason"],
      collect: (counter) => {
        for (const reason of auditLosses) counter.set({ reason }, this.lost[reason]);
      },
    });
    metrics.counter({
      name: "audit_recorder_failed_calls_total",
      help: "Calls of Audit that failed as a whole; their events are sent again.",
      collect: (counter) => counter.set({}, this.failedCalls),
    });
    metrics.gauge({
      name: "audit_recorder_waiting_events",
      help: "Events in memory that Audit does not have yet.",
      collect: (gauge) => gauge.set({}, stats().waiting),
    });
    metrics.gauge({
      name: "audit_recorder_spilled_bytes",
      help: "Events on disk that Audit does not have yet.",
      collect: (gauge) => gauge.set({}, stats().spilledBytes),
    });
  }
}
