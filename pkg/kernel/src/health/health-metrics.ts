import type { Metrics } from "../metrics/metrics.ts";
import type { Health } from "./health.ts";

/** What the checks have found and what they take, asked at each scrape. */
export function collectHealthMetrics(metrics: Metrics, health: Health): void {
  metrics.gauge({
    name: "health_ready",
    help: "1 while the app should get traffic, else 0.",
    aggregate: "min",
    collect: (gauge) => gauge.set({}, health.state === "ready" || health.state === "degraded" ? 1 : 0),
  });
  metrics.gauge({
    name: "health_check_status",
    help: "1 while a check counts as passing, 0 while it counts as failing; absent until it has run.",
    labels: ["check"],
    aggregate: "min",
    collect: (gauge) => {
      for (const { name, status, durationMs } of health.details().checks) {
        if (durationMs !== undefined) gauge.set({ check: name }, status === "pass" ? 1 : 0);
      }
    },
  });
  metrics.gauge({
    name: "health_check_duration_seconds",
    help: "How long the last run of a check took.",
    labels: ["check"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { name, durationMs } of health.details().checks) {
        if (durationMs !== undefined) gauge.set({ check: name }, durationMs / 1e3);
      }
    },
  });
  metrics.counter({
    name: "health_check_flips_total",
    help: "How often a check has begun to fail or recovered.",
    labels: ["check"],
    collect: (counter) => {
      for (const { name, flips } of health.details().checks) counter.set({ check: name }, flips);
    },
  });
  metrics.gauge({
    name: "health_event_loop_stall_seconds",
    help: "The stall of the event loop, above the limit, that has just ended; 0 when there is none.",
    aggregate: "max",
    collect: (gauge) => gauge.set({}, health.liveness().stalledMs / 1e3),
  });
  metrics.counter({
    name: "health_event_loop_stalls_total",
    help: "Stalls of the event loop above the limit.",
    collect: (counter) => counter.set({}, health.details().stalls),
  });
}
