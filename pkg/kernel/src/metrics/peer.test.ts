import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Counter, Gauge, Histogram, Registry } from "@prometheus-io/client";
import { createMetrics } from "./create-metrics.ts";

const routes = ["/", "/notes/:id", 'a "quoted" \\ one', "/ü/…", ""];
const numbers = [0, 0.1, 1, 2.5, 1e-9, 1e21, 123_456_789.25, -3];

/** The same into both; samples in any order. */
async function compare(accept: string, peers: Registry): Promise<void> {
  const registers = [peers];
  const metrics = createMetrics();
  const labels = ["route", "code"] as const;
  const ours = {
    counter: metrics.counter({ name: "calls_total", help: "Calls.", labels }),
    gauge: metrics.gauge({ name: "pool_size", help: "Pool\nsize.", labels }),
    histogram: metrics.histogram({ name: "wait_seconds", help: "Waits.", labels, buckets: [0.1, 0.25, 2.5] }),
  };
  const theirs = {
    counter: new Counter({ name: "calls_total", help: "Calls.", labelNames: labels, registers }),
    gauge: new Gauge({ name: "pool_size", help: "Pool\nsize.", labelNames: labels, registers }),
    histogram: new Histogram({
      name: "wait_seconds",
      help: "Waits.",
      labelNames: labels,
      registers,
      buckets: [0.1, 0.25, 2.5],
    }),
  };
  for (const route of routes) {
    for (const [index, number] of numbers.entries()) {
      const code = String(index % 3);
      for (const { counter, gauge, histogram } of [ours, theirs]) {
        counter.inc({ route, code }, Math.abs(number));
        gauge.set({ route, code }, number);
        histogram.observe({ route, code }, number);
      }
    }
  }
  const { body, contentType } = await metrics.expose({ accept });
  const own = body.split("\n").filter((line) => !/metrics_(series|collect)|^# UNIT/.test(line));
  const peer = (await peers.metrics()).split("\n");
  const normal = (lines: string[]): string[] => lines.filter((line) => line !== "").toSorted();
  assert.deepEqual(normal(own), normal(peer));
  assert.equal(contentType, peers.contentType);
}

// The client of the Prometheus project is asked, rather than a text written here by hand.
describe("what a scrape holds", () => {
  it("is what the Prometheus client writes, as text", () => compare("text/plain", new Registry()));

  it("is what the Prometheus client writes, as OpenMetrics", () =>
    compare(
      "application/openmetrics-text",
      new Registry("application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ));
});
