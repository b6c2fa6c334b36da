import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMetrics } from "./create-metrics.ts";
import { maxLabelValueLength } from "./label-value.ts";
import type { Metrics } from "./metrics.ts";

async function linesOf(metrics: Metrics, name: string): Promise<string[]> {
  const { body } = await metrics.expose();
  return body.split("\n").filter((line) => line.startsWith(name));
}

/** A counter with two labels that may have three series. */
function capped() {
  const metrics = createMetrics();
  const counter = metrics.counter({ name: "calls_total", help: "Calls.", labels: ["host", "path"], maxSeries: 3 });
  return { metrics, counter };
}

describe("the series of a metric", () => {
  it("stay within their number: what comes later shares one, and each time is counted", async () => {
    const { metrics, counter } = capped();
    for (let index = 0; index < 100; index += 1) counter.inc({ host: "a", path: `/${index}` }, 2);
    counter.inc({ host: "a", path: "/1" });
    assert.deepEqual(await linesOf(metrics, "calls_total"), [
      'calls_total{host="a",path="/0"} 2',
      'calls_total{host="a",path="/1"} 3',
      'calls_total{host="a",path="/2"} 2',
      'calls_total{host="_overflow",path="_overflow"} 194',
    ]);
    assert.deepEqual(await linesOf(metrics, "metrics_series_overflow_total"), [
      'metrics_series_overflow_total{metric="calls_total"} 97',
    ]);
  });

  it("are at most 1 000 where nothing else was said, also of histograms and gauges", async () => {
    const metrics = createMetrics();
    const histogram = metrics.histogram({ name: "wait_seconds", help: "W.", labels: ["path"], buckets: [1] });
    const gauge = metrics.gauge({ name: "queue_length", help: "Q.", labels: ["path"] });
    for (let index = 0; index < 3_000; index += 1) {
      histogram.observe({ path: String(index) }, 0.5);
      gauge.set({ path: String(index) }, index);
    }
    assert.equal((await linesOf(metrics, "wait_seconds_count")).length, 1_001);
    assert.deepEqual((await linesOf(metrics, "queue_length")).slice(-2), [
      'queue_length{path="999"} 999',
      'queue_length{path="_overflow"} 2999',
    ]);
  });

  it("begin anew at each scrape where something else keeps the values", async () => {
    const metrics = createMetrics();
    let round = 0;
    metrics.gauge({
      name: "queue_length",
      help: "Q.",
      labels: ["queue"],
      maxSeries: 2,
      collect: (gauge) => [round++, round, round + 1].forEach((queue) => gauge.set({ queue: String(queue) }, queue)),
    });
    await metrics.expose();
    assert.deepEqual(await linesOf(metrics, "queue_length"), [
      'queue_length{queue="1"} 1',
      'queue_length{queue="2"} 2',
      'queue_length{queue="_overflow"} 3',
    ]);
  });

  it("are one where somebody uses the name of the overflow as a value", async () => {
    const { metrics, counter } = capped();
    for (const path of ["_overflow", "/1", "/2", "/3"]) counter.inc({ host: "_overflow", path });
    assert.deepEqual((await linesOf(metrics, "calls_total"))[0], 'calls_total{host="_overflow",path="_overflow"} 2');
  });

  it("are never taken for one another, whatever stands between their values", async () => {
    const metrics = createMetrics();
    const counter = metrics.counter({ name: "calls_total", help: "Calls.", labels: ["a", "b"] });
    const pairs = ["|", ",", ":", '"', "\\", "", "__proto__", "constructor", "a=", " "].flatMap((mark) => [
      [`x${mark}y`, "z"],
      ["x", `y${mark}z`],
      [mark, mark],
    ]);
    const different = new Set(pairs.map((pair) => JSON.stringify(pair)));
    for (const [a = "", b = ""] of pairs) counter.inc({ a, b });
    assert.equal((await linesOf(metrics, "calls_total")).length, different.size);
  });

  it("do not depend on the order in which the labels are given", async () => {
    const { metrics, counter } = capped();
    counter.inc({ path: "/", host: "a" });
    counter.inc({ host: "a", path: "/" });
    assert.deepEqual(await linesOf(metrics, "calls_total"), ['calls_total{host="a",path="/"} 2']);
  });
});

describe("the values of labels", () => {
  const values: readonly (readonly [what: string, given: string, shown: string])[] = [
    ["line ends", "a\nb\r\nc\u2028d\u2029e", "a\ufffdb\ufffd\ufffdc\ufffdd\ufffde"],
    ["other control characters", "\u0000a\u001b[31mb\u007fc\u0085", "\ufffda\ufffd[31mb\ufffdc\ufffd"],
    ["halves of characters", "a\ud800b\udc00", "a\ufffdb\ufffd"],
    ["whole characters of two halves", "😀 ü 漢", "😀 ü 漢"],
    ["quotes and backslashes, which are escaped", '"\\n', String.raw`\"\\n`],
    ["what is too long, cut", "x".repeat(5_000), `${"x".repeat(maxLabelValueLength - 1)}…`],
    ["what just fits", "x".repeat(maxLabelValueLength), "x".repeat(maxLabelValueLength)],
    [
      "a character cut in two",
      `${"x".repeat(maxLabelValueLength - 2)}😀😀`,
      `${"x".repeat(maxLabelValueLength - 2)}\ufffd…`,
    ],
  ];
  for (const [what, given, shown] of values) {
    it(`are cleaned of ${what}`, async () => {
      const metrics = createMetrics();
      const counter = metrics.counter({ name: "calls_total", help: "Calls.", labels: ["value"] });
      counter.inc({ value: given });
      counter.inc({ value: given });
      assert.deepEqual(await linesOf(metrics, "calls_total"), [`calls_total{value="${shown}"} 2`]);
    });
  }

  it("make one series of what looks the same when it is written", async () => {
    const metrics = createMetrics();
    const counter = metrics.counter({ name: "calls_total", help: "Calls.", labels: ["value"] });
    for (const value of ["a\ud800", "a\udfff", "a\u0000", "a\n", "a\ufffd"]) counter.inc({ value });
    assert.deepEqual(await linesOf(metrics, "calls_total"), ['calls_total{value="a\ufffd"} 5']);
  });
});
