import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Metrics } from "./metrics.ts";

/** Adds what the process spends: CPU, memory, event-loop delay. Close it to stop the sampling. */
export function collectProcessMetrics(metrics: Metrics): { close(): void } {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  metrics.counter({
    name: "process_cpu_seconds_total",
    help: "User and system CPU time spent by the process.",
    collect: (counter) => {
      const { user, system } = process.cpuUsage();
      counter.set({}, (user + system) / 1e6);
    },
  });
  metrics.gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory.",
    collect: (gauge) => gauge.set({}, process.memoryUsage.rss()),
  });
  metrics.gauge({
    name: "process_heap_used_bytes",
    help: "JavaScript heap in use.",
    collect: (gauge) => gauge.set({}, process.memoryUsage().heapUsed),
  });
  const startedAtSeconds = Date.now() / 1e3 - process.uptime();
  metrics.gauge({
    name: "process_start_time_seconds",
    help: "Start of the process since the Unix epoch.",
    collect: (gauge) => gauge.set({}, startedAtSeconds),
  });
  metrics.gauge({
    name: "process_event_loop_delay_seconds",
    help: "Event-loop delay since the last scrape, by quantile.",
    labels: ["quantile"],
    collect: (gauge) => {
      for (const quantile of [50, 99])
        gauge.set({ quantile: String(quantile / 100) }, delay.percentile(quantile) / 1e9);
      delay.reset();
    },
  });
  return { close: () => void delay.disable() };
}
