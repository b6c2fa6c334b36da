import { readdir, readFile } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import { getHeapSpaceStatistics, getHeapStatistics } from "node:v8";
import type { Metrics } from "./metrics.ts";
import { collectGcMetrics, collectLoopDelay } from "./runtime-observers.ts";

/** Adds what the process spends and holds: CPU, memory, event loop, garbage collection, files. Close it to stop the sampling. */
export function collectProcessMetrics(metrics: Metrics): { close(): void } {
  collectUse(metrics);
  collectMemory(metrics);
  collectFiles(metrics);
  const observers = [collectLoopDelay(metrics), collectGcMetrics(metrics)];
  return { close: () => observers.forEach((observer) => observer.close()) };
}

function collectUse(metrics: Metrics): void {
  metrics.counter({
    name: "process_cpu_seconds_total",
    help: "User and system CPU time spent by the process.",
    collect: (counter) => {
      const { user, system } = process.cpuUsage();
      counter.set({}, (user + system) / 1e6);
    },
  });
  const startedAtSeconds = Date.now() / 1e3 - process.uptime();
  metrics.gauge({
    name: "process_start_time_seconds",
    help: "Start of the process since the Unix epoch.",
    aggregate: "min",
    collect: (gauge) => gauge.set({}, startedAtSeconds),
  });
  metrics.counter({
    name: "process_event_loop_seconds_total",
    help: "Time of the event loop by what it did: active or idle. The rate of active is its utilisation.",
    labels: ["state"],
    collect: (counter) => {
      const { active, idle } = performance.eventLoopUtilization();
      counter.set({ state: "active" }, active / 1e3);
      counter.set({ state: "idle" }, idle / 1e3);
    },
  });
  metrics.gauge({
    name: "process_active_resources",
    help: "What keeps the event loop alive: sockets, servers, timers, pending requests, by the name that Node gives them.",
    labels: ["type"],
    collect: (gauge) => {
      const byType = Map.groupBy(process.getActiveResourcesInfo(), (type) => type);
      for (const [type, { length }] of byType) gauge.set({ type }, length);
    },
  });
}

function collectMemory(metrics: Metrics): void {
  metrics.gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory.",
    collect: (gauge) => gauge.set({}, process.memoryUsage.rss()),
  });
  const heap = [
    ["process_heap_used_bytes", "JavaScript heap in use.", "used_heap_size"],
    ["process_heap_size_bytes", "JavaScript heap taken from the system.", "total_heap_size"],
    ["process_heap_limit_bytes", "What the JavaScript heap may grow to before the process dies.", "heap_size_limit"],
    [
      "process_external_memory_bytes",
      "Memory outside the heap that JavaScript objects hold, as buffers do.",
      "external_memory",
    ],
  ] as const;
  for (const [name, help, field] of heap) {
    metrics.gauge({ name, help, collect: (gauge) => gauge.set({}, getHeapStatistics()[field]) });
  }
  metrics.gauge({
    name: "process_heap_space_used_bytes",
    help: "JavaScript heap in use, by space.",
    labels: ["space"],
    collect: (gauge) => {
      for (const { space_name: space, space_used_size: used } of getHeapSpaceStatistics()) gauge.set({ space }, used);
    },
  });
}

/** On Linux alone, where the kernel tells. */
function collectFiles(metrics: Metrics): void {
  if (process.platform !== "linux") return;
  metrics.gauge({
    name: "process_open_fds",
    help: "Open file descriptors: files, sockets, pipes. On Linux.",
    collect: async (gauge) => gauge.set({}, (await readdir("/proc/self/fd")).length - 1), // not the one it reads with
  });
  metrics.gauge({
    name: "process_max_fds",
    help: "Limit of open file descriptors. On Linux.",
    collect: async (gauge) => {
      const limit = /^Max open files +(\d+|unlimited)/m.exec(await readFile("/proc/self/limits", "utf8"))?.[1];
      if (limit !== undefined) gauge.set({}, limit === "unlimited" ? Infinity : Number(limit));
    },
  });
}
