import { constants, monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks";
import type { Metrics } from "./metrics.ts";

interface Observing {
  /** Safe to call twice. */
  close(): void;
}

/** Between samples of the event loop, in milliseconds: what is shorter is no delay. */
const resolutionMs = 20;
/** Two scrapers must not take the window from each other, in milliseconds. */
const shortestWindowMs = 5_000;

/** How late the event loop runs its timers. */
export function collectLoopDelay(metrics: Metrics): Observing {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  let windowFromMs = performance.now();
  metrics.gauge({
    name: "process_event_loop_delay_seconds",
    help: "How late the event loop was since the last scrape that is 5 s or more ago: mean, p50, p99, max.",
    labels: ["stat"],
    aggregate: "max",
    collect: (gauge) => {
      // the histogram holds whole intervals, of which the delay is what is above the resolution
      const set = (stat: string, nanoseconds: number): void =>
        gauge.set({ stat }, Math.max(0, nanoseconds / 1e9 - resolutionMs / 1e3));
      set("mean", delay.count === 0 ? 0 : delay.mean);
      set("p50", delay.percentile(50));
      set("p99", delay.percentile(99));
      set("max", delay.max);
      if (performance.now() - windowFromMs < shortestWindowMs) return;
      windowFromMs = performance.now();
      delay.reset();
    },
  });
  return { close: () => void delay.disable() };
}

const kinds: ReadonlyMap<unknown, string> = new Map([
  [constants.NODE_PERFORMANCE_GC_MAJOR, "major"],
  [constants.NODE_PERFORMANCE_GC_MINOR, "minor"],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, "incremental"],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, "weak_callbacks"],
]);

/** How long collections of garbage take: while one runs nothing else does, but for parts of the incremental ones. */
export function collectGcMetrics(metrics: Metrics): Observing {
  const seconds = metrics.histogram({
    name: "process_gc_duration_seconds",
    help: "How long collections of garbage took, by kind: minor, major, incremental, weak_callbacks.",
    labels: ["kind"],
    buckets: [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
  });
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const kind = kinds.get(kindOf(entry));
      seconds.observe({ kind: kind ?? "other" }, entry.duration / 1e3);
    }
  });
  observer.observe({ entryTypes: ["gc"] });
  return { close: () => observer.disconnect() };
}

/** Its number; the types of Node do not tell of `detail`. */
function kindOf(entry: object): unknown {
  const detail: unknown = Reflect.get(entry, "detail");
  return typeof detail === "object" && detail !== null ? Reflect.get(detail, "kind") : undefined;
}
