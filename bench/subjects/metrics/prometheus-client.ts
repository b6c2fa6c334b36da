// The client of the Prometheus project, on a registry of its own, with the same metrics and buckets.
import { durationBucketsSeconds } from "@plinth/kernel";
import { Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";
import { gaugeSeries, labels, measureMetrics } from "./measure.ts";

const registry = new Registry();
const shared = { labelNames: labels, registers: [registry] };
const counter = new Counter({ name: "requests_total", help: "Requests.", ...shared });
const buckets = [...durationBucketsSeconds];
const histogram = new Histogram({ name: "request_duration_seconds", help: "Time.", buckets, ...shared });
const gauge = new Gauge({
  name: "pool_connections",
  help: "Connections.",
  labelNames: ["pool"],
  registers: [registry],
});
for (const pool of gaugeSeries) gauge.set({ pool }, 1);

await measureMetrics({
  count: (values) => counter.inc(values),
  time: (values, seconds) => histogram.observe(values, seconds),
  scrape: () => registry.metrics(),
});
