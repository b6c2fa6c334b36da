import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMetrics } from "./create-metrics.ts";
import type { Metrics } from "./metrics.ts";
import { renderSnapshot } from "./render.ts";
import { type Aggregate, aggregateSnapshots, type MetricsSnapshot } from "./snapshot.ts";

/** As another process sends it. */
async function sent(metrics: Metrics): Promise<MetricsSnapshot> {
  return JSON.parse(JSON.stringify(await metrics.snapshot()));
}

/** The samples of all of them together, without what every registry has of its own. */
async function together(...all: Metrics[]): Promise<string[]> {
  const refused: string[] = [];
  const snapshot = await aggregateSnapshots(await Promise.all(all.map(sent)), {
    onRefused: (message) => refused.push(message),
  });
  assert.deepEqual(refused, []);
  return samplesOf(snapshot);
}

async function samplesOf(snapshot: MetricsSnapshot): Promise<string[]> {
  const text = String(await renderSnapshot(snapshot, "openmetrics"));
  return text.split("\n").filter((line) => line !== "" && !/^#|^metrics_/.test(line));
}

/** Several registries, each as `fill` makes it. */
function workers<T>(fill: (metrics: Metrics, value: T) => void, values: readonly T[]): Metrics[] {
  return values.map((value) => {
    const metrics = createMetrics();
    fill(metrics, value);
    return metrics;
  });
}

describe("a snapshot", () => {
  it("says the same after a way through JSON, whatever the values are", async () => {
    const metrics = createMetrics();
    const gauge = metrics.gauge({ name: "odd_values", help: "Odd.", labels: ["is"] });
    for (const value of [NaN, Infinity, -Infinity, 0.1]) gauge.set({ is: `"${value}"` }, value);
    const histogram = metrics.histogram({ name: "wait_seconds", help: "W.", exemplars: true, buckets: [1] });
    histogram.observe({}, 0.5, { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true });
    for (const format of ["prometheus", "openmetrics"] as const) {
      const accept = format === "openmetrics" ? "application/openmetrics-text" : undefined;
      assert.equal(String(await renderSnapshot(await sent(metrics), format)), (await metrics.expose({ accept })).body);
    }
  });

  it("stays as it was when its metrics go on", async () => {
    const metrics = createMetrics();
    const histogram = metrics.histogram({ name: "wait_seconds", help: "W.", buckets: [1] });
    const counter = metrics.counter({ name: "calls_total", help: "C." });
    const before = await metrics.snapshot();
    const text = JSON.stringify(before);
    histogram.observe({}, 0.5);
    counter.inc({});
    assert.equal(JSON.stringify(before), text);
  });
});

describe("aggregateSnapshots", () => {
  it("adds counters and histograms up, series by series, in whatever order they came", async () => {
    const all = workers(
      (metrics, routes: readonly string[]) => {
        const calls = metrics.counter({ name: "calls_total", help: "C.", labels: ["route", "code"] });
        const waits = metrics.histogram({ name: "wait_seconds", help: "W.", labels: ["route"], buckets: [0.1, 1] });
        for (const [index, route] of routes.entries()) {
          calls.inc({ route, code: "200" }, index + 1);
          waits.observe({ route }, index);
        }
      },
      [["/a", "/b"], ["/b", "/c", "/a"], []],
    );
    assert.deepEqual(await together(...all), [
      'calls_total{route="/a",code="200"} 4',
      'calls_total{route="/b",code="200"} 3',
      'calls_total{route="/c",code="200"} 2',
      'wait_seconds_bucket{le="0.1",route="/a"} 1',
      'wait_seconds_bucket{le="1.0",route="/a"} 1',
      'wait_seconds_bucket{le="+Inf",route="/a"} 2',
      'wait_seconds_sum{route="/a"} 2',
      'wait_seconds_count{route="/a"} 2',
      'wait_seconds_bucket{le="0.1",route="/b"} 1',
      'wait_seconds_bucket{le="1.0",route="/b"} 2',
      'wait_seconds_bucket{le="+Inf",route="/b"} 2',
      'wait_seconds_sum{route="/b"} 1',
      'wait_seconds_count{route="/b"} 2',
      'wait_seconds_bucket{le="0.1",route="/c"} 0',
      'wait_seconds_bucket{le="1.0",route="/c"} 1',
      'wait_seconds_bucket{le="+Inf",route="/c"} 1',
      'wait_seconds_sum{route="/c"} 1',
      'wait_seconds_count{route="/c"} 1',
    ]);
  });

  const ways: readonly (readonly [aggregate: Aggregate | undefined, values: readonly number[], together: string])[] = [
    [undefined, [1, 2, 6], "9"],
    ["sum", [1, 2, 6], "9"],
    ["max", [2, 6, 1], "6"],
    ["min", [2, 1, 6], "1"],
    ["average", [1, 2, 6], "3"],
    ["first", [2, 1, 6], "2"],
    ["max", [1, Infinity], "+Inf"],
    ["sum", [Infinity, -Infinity], "NaN"],
    ["min", [NaN, 1], "NaN"],
  ];
  for (const [aggregate, values, expected] of ways) {
    it(`makes ${expected} of gauges that are ${values.join(", ")} by ${aggregate ?? "what is usual"}`, async () => {
      const options = aggregate === undefined ? {} : { aggregate };
      const all = workers(
        (metrics, value: number) => metrics.gauge({ name: "pool_size", help: "P.", ...options }).set({}, value),
        values,
      );
      assert.deepEqual(await together(...all), [`pool_size ${expected}`]);
    });
  }

  it("makes what some do not have of the others: metrics, series, exemplars", async () => {
    const [first = createMetrics(), second = createMetrics()] = workers(() => {}, [1, 2]);
    const span = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: true };
    const gauge = { name: "queue_length", help: "Q.", labels: ["queue"], aggregate: "average" } as const;
    first.gauge(gauge).set({ queue: "mail" }, 4);
    const queues = second.gauge(gauge);
    queues.set({ queue: "mail" }, 2);
    queues.set({ queue: "sms" }, 5);
    second.counter({ name: "calls_total", help: "C." }).inc({});
    for (const [metrics, exemplars] of [
      [first, false],
      [second, true],
    ] as const) {
      metrics.histogram({ name: "wait_seconds", help: "W.", buckets: [1], exemplars }).observe({}, 0.5, span);
    }
    const lines = await together(first, second);
    assert.deepEqual(lines.slice(0, 2), ['queue_length{queue="mail"} 3', 'queue_length{queue="sms"} 5']);
    assert.match(lines[2] ?? "", /^wait_seconds_bucket\{le="1.0"\} 2 # \{trace_id="a+"/);
    assert.equal(lines.at(-1), "calls_total 1");
  });

  it("keeps of several exemplars of a bucket the newest", async () => {
    const at = (atMs: number, traceId: string): MetricsSnapshot => ({
      families: [
        {
          name: "wait_seconds",
          help: "W.",
          type: "histogram",
          labels: [],
          bounds: [1],
          series: [{ values: [], counts: [1, 0], sum: 1, exemplars: [{ traceId, spanId: "s", value: 1, atMs }, null] }],
        },
      ],
    });
    const { families } = await aggregateSnapshots([at(2_000, "old"), at(3_000, "new"), at(1_000, "older")]);
    const [sample] = families[0]?.series ?? [];
    assert.deepEqual(sample && "exemplars" in sample && sample.exemplars, [
      { traceId: "new", spanId: "s", value: 1, atMs: 3_000 },
      null,
    ]);
  });

  const differences: readonly (readonly [
    what: string,
    declare: (metrics: Metrics, isFirst: boolean) => void,
    reason: RegExp,
  ])[] = [
    [
      "types",
      (metrics, isFirst) => {
        if (isFirst) metrics.gauge({ name: "odd_one", help: "O." });
        else metrics.histogram({ name: "odd_one", help: "O." });
      },
      /type \(gauge; histogram\)/,
    ],
    [
      "buckets",
      (metrics, isFirst) => void metrics.histogram({ name: "odd_one", help: "O.", buckets: isFirst ? [1, 2] : [1, 3] }),
      /buckets \(1, 2; 1, 3\)/,
    ],
    [
      "labels",
      (metrics, isFirst) => void metrics.gauge({ name: "odd_one", help: "O.", labels: isFirst ? [] : ["a", "b"] }),
      /labels \(none; a, b\)/,
    ],
    [
      "ways to be one",
      (metrics, isFirst) => void metrics.gauge({ name: "odd_one", help: "O.", aggregate: isFirst ? "max" : "min" }),
      /aggregate \(max; min\)/,
    ],
  ];
  for (const [what, declare, reason] of differences) {
    it(`leaves a metric out of which two processes have different ${what}, says so, and keeps the others`, async () => {
      const all = workers(
        (metrics, isFirst: boolean) => {
          declare(metrics, isFirst);
          metrics.counter({ name: "calls_total", help: "C." }).inc({});
        },
        [true, false],
      );
      const refused: string[] = [];
      const snapshot = await aggregateSnapshots(await Promise.all(all.map(sent)), {
        onRefused: (message) => refused.push(message),
      });
      assert.deepEqual(await samplesOf(snapshot), ["calls_total 2"]);
      assert.equal(refused.length, 1);
      assert.match(
        refused[0] ?? "",
        /^metric odd_one is left out of the metrics of all processes: they differ in its /,
      );
      assert.match(refused[0] ?? "", reason);
    });
  }

  it("of nothing is nothing, and of one is that one", async () => {
    assert.deepEqual(await aggregateSnapshots([]), { families: [] });
    const metrics = createMetrics();
    metrics.histogram({ name: "wait_seconds", help: "W." }).observe({}, 1);
    assert.deepEqual(await aggregateSnapshots([await sent(metrics)]), await sent(metrics));
  });

  it("stops when its signal aborts", async () => {
    const metrics = createMetrics();
    const counter = metrics.counter({ name: "calls_total", help: "C.", labels: ["n"], maxSeries: 20_000 });
    for (let n = 0; n < 20_000; n += 1) counter.inc({ n: String(n) });
    const signal = AbortSignal.abort(new Error("gone"));
    await assert.rejects(aggregateSnapshots([await metrics.snapshot()], { signal }), { message: "gone" });
  });
});
