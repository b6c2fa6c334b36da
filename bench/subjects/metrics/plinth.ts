// Plinth: metrics as an app has them, capped and cleaned.
import { createMetrics } from "@plinth/kernel";
import { gaugeSeries, labels, measureMetrics } from "./measure.ts";

const metrics = createMetrics();
const counter = metrics.counter({ name: "requests_total", help: "Requests.", labels });
const histogram = metrics.histogram({ name: "request_duration_seconds", help: "Time.", labels });
const gauge = metrics.gauge({ name: "pool_connections", help: "Connections.", labels: ["pool"] });
for (const pool of gaugeSeries) gauge.set({ pool }, 1);

await measureMetrics({
  count: (values) => counter.inc(values),
  time: (values, seconds) => histogram.observe(values, seconds),
  scrape: async () => (await metrics.expose()).body,
});
