import { createMetrics } from "../metrics/create-metrics.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { MetricsSnapshot } from "../metrics/snapshot.ts";
import type { RestartReason, Slot } from "./slot.ts";

/** What the primary shows of itself and its workers, beside their own metrics. */
export class WorkersMetrics {
  readonly #metrics = createMetrics();
  readonly #restarts = this.#metrics.counter({
    name: "workers_restarts_total",
    help: "Workers started in the place of one that had ended: killed by a signal, failed with an exit code, or ended of itself.",
    labels: ["reason"],
  });
  #missing: ReadonlySet<number> = new Set();

  /** @param slots - Read at each scrape. */
  constructor(slots: () => readonly Slot[]) {
    for (const reason of ["signal", "failed", "ended"] as const) this.#restarts.inc({ reason }, 0);
    this.#metrics.gauge({
      name: "workers_configured",
      help: "Worker processes that are to run.",
      collect: (gauge) => gauge.set({}, slots().length),
    });
    this.#metrics.gauge({
      name: "workers_up",
      help: "1 for a worker that is ready and has told its metrics for this scrape, else 0.",
      labels: ["worker"],
      collect: (gauge) => {
        for (const { index, worker } of slots()) {
          const isUp = worker?.readyAtMs !== undefined && !this.#missing.has(index);
          gauge.set({ worker: String(index) }, isUp ? 1 : 0);
        }
      },
    });
    this.#metrics.gauge({
      name: "workers_missing",
      help: "Workers that did not tell their metrics in time for this scrape, which has those that they told last.",
      collect: (gauge) => gauge.set({}, this.#missing.size),
    });
    this.#metrics.counter({
      name: "workers_primary_cpu_seconds_total",
      help: "User and system CPU time spent by the primary process, which accepts the connections.",
      collect: (counter) => {
        const { user, system } = process.cpuUsage();
        counter.set({}, (user + system) / 1e6);
      },
    });
    this.#metrics.gauge({
      name: "workers_primary_resident_memory_bytes",
      help: "Resident memory of the primary process.",
      collect: (gauge) => gauge.set({}, process.memoryUsage.rss()),
    });
    declareAggregated(this.#metrics, 1);
  }

  countRestart(reason: RestartReason): void {
    this.#restarts.inc({ reason });
  }

  /** @param missing - Numbers of the workers that did not tell their metrics this time. */
  snapshot(missing: ReadonlySet<number>): Promise<MetricsSnapshot> {
    this.#missing = missing;
    return this.#metrics.snapshot();
  }
}

/** The same name on both sides, so that an alert can tell a scrape that one worker had to answer alone. */
export function declareAggregated(metrics: Metrics, value: 0 | 1): void {
  const aggregated = metrics.gauge({
    name: "workers_aggregated",
    help: "1 when the scrape shows all workers together; 0, with the label worker on all metrics, when it shows one alone because the primary did not answer.",
  });
  aggregated.set({}, value);
}
