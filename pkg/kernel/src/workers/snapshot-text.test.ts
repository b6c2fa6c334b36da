import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMetrics } from "../metrics/create-metrics.ts";
import { readSnapshot, writeSnapshot } from "./snapshot-text.ts";

describe("a snapshot as text", () => {
  it("is the same when it is read again, whatever the values", async () => {
    const metrics = createMetrics();
    const gauge = metrics.gauge({
      name: "queue_depth",
      help: 'With "quotes"\nand lines.',
      labels: ["queue"],
      aggregate: "max",
    });
    for (const [queue, value] of [
      ["a", Number.NaN],
      ["b", Infinity],
      ["c", -Infinity],
      ["d", 1e-9],
    ] as const)
      gauge.set({ queue }, value);
    const size = metrics.histogram({ name: "size_bytes", help: "Sizes.", exemplars: true, buckets: [1] });
    size.observe({}, 5, { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true });
    const snapshot = await metrics.snapshot();
    const text = await writeSnapshot(snapshot);
    assert.ok(text !== undefined);
    assert.deepEqual(readSnapshot(text), snapshot);
  });

  it("is not written when it is too large to be sent", async () => {
    const metrics = createMetrics();
    const help = "x".repeat(1_000_000);
    for (let index = 0; index < 20; index++) metrics.counter({ name: `large_${index}_total`, help });
    assert.equal(await writeSnapshot(await metrics.snapshot()), undefined);
  });

  const family = { name: "a", help: "", labels: [], type: "counter", aggregate: "sum", series: [] };
  const garbage: Readonly<Record<string, unknown>> = {
    "no JSON": "{",
    "no object": 7,
    "no families": {},
    "a family without a name": { families: [{ ...family, name: 1 }] },
    "an unknown type": { families: [{ ...family, type: "summary" }] },
    "an unknown way to aggregate": { families: [{ ...family, aggregate: "median" }] },
    "a value that is no number": { families: [{ ...family, series: [{ values: [], value: "7" }] }] },
    "series that are none": { families: [{ ...family, series: [null] }] },
    "a histogram without bounds": { families: [{ ...family, type: "histogram" }] },
  };
  for (const [what, given] of Object.entries(garbage)) {
    it(`is refused with ${what}`, () => {
      assert.throws(() => readSnapshot(typeof given === "string" ? given : JSON.stringify(given)));
    });
  }
});
