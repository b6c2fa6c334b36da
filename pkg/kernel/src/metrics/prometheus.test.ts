import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { durationBucketsSeconds, type Metrics } from "./metrics.ts";
import { collectProcessMetrics } from "./process-metrics.ts";
import { createMetrics } from "./prometheus.ts";

/** The lines of a scrape, without the comments. */
async function samplesOf(metrics: Metrics): Promise<string[]> {
  const { body } = await metrics.expose();
  return body.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

describe("Metrics", () => {
  it("exposes counters, gauges and histograms in the Prometheus text format", async () => {
    const metrics = createMetrics();
    const requests = metrics.counter({ name: "http_requests_total", help: "Requests.", labels: ["route", "code"] });
    requests.inc({ route: "/notes/:id", code: "200" });
    requests.inc({ route: "/notes/:id", code: "200" }, 2.5);
    metrics.gauge({ name: "pool_size", help: "Connections." }).set({}, 7);
    const seconds = metrics.histogram({ name: "wait_seconds", help: "Waits.", labels: ["pool"], buckets: [0.1, 1] });
    seconds.observe({ pool: "a" }, 0.05);
    seconds.observe({ pool: "a" }, 5);
    const { contentType, body } = await metrics.expose();
    assert.match(contentType, /^text\/plain; version=0\.0\.4/);
    assert.equal(
      body.trim(),
      [
        "# HELP http_requests_total Requests.",
        "# TYPE http_requests_total counter",
        'http_requests_total{route="/notes/:id",code="200"} 3.5',
        "",
        "# HELP pool_size Connections.",
        "# TYPE pool_size gauge",
        "pool_size 7",
        "",
        "# HELP wait_seconds Waits.",
        "# TYPE wait_seconds histogram",
        'wait_seconds_bucket{le="0.1",pool="a"} 1',
        'wait_seconds_bucket{le="1",pool="a"} 1',
        'wait_seconds_bucket{le="+Inf",pool="a"} 2',
        'wait_seconds_sum{pool="a"} 5.05',
        'wait_seconds_count{pool="a"} 2',
      ].join("\n"),
    );
  });

  it("escapes what could break a line in label values and help texts", async () => {
    const metrics = createMetrics();
    const counter = metrics.counter({ name: "odd_total", help: "First\nsecond \\ third.", labels: ["value"] });
    counter.inc({ value: 'a"b\\c\nd' });
    const { body } = await metrics.expose();
    assert.match(body, /# HELP odd_total First\\nsecond \\\\ third\.\n/);
    assert.match(body, /odd_total\{value="a\\"b\\\\c\\nd"\} 1\n/);
  });

  it("has buckets from half a millisecond to ten seconds by default", async () => {
    const metrics = createMetrics();
    metrics.histogram({ name: "x_seconds", help: "X." }).observe({}, 1);
    const bounds = (await samplesOf(metrics)).flatMap((line) => /le="([\d.]+)"/.exec(line)?.[1] ?? []);
    assert.deepEqual(bounds.map(Number), durationBucketsSeconds);
  });

  it("reads a gauge and a counter that something else keeps at each scrape, and only then", async () => {
    const metrics = createMetrics();
    let waiting = 3;
    let reads = 0;
    metrics.gauge({
      name: "queue_length",
      help: "Q.",
      labels: ["queue"],
      collect: (gauge) => {
        reads++;
        gauge.set({ queue: "mail" }, waiting);
      },
    });
    metrics.counter({ name: "seen_total", help: "S.", collect: (counter) => counter.set({}, 10 + waiting) });
    assert.equal(reads, 0);
    assert.deepEqual(await samplesOf(metrics), ['queue_length{queue="mail"} 3', "seen_total 13"]);
    waiting = 5;
    assert.deepEqual(await samplesOf(metrics), ['queue_length{queue="mail"} 5', "seen_total 15"]);
    assert.match((await metrics.expose()).body, /# TYPE seen_total counter/);
  });

  it("exposes the others when one cannot be read, and warns", async () => {
    const metrics = createMetrics();
    metrics.gauge({
      name: "broken",
      help: "B.",
      collect() {
        throw new Error("no pool");
      },
    });
    metrics.gauge({ name: "fine", help: "F." }).set({}, 1);
    const warned = once(process, "warning");
    assert.ok((await samplesOf(metrics)).includes("fine 1"));
    assert.match(String((await warned)[0]), /the value of metric broken could not be read: no pool/);
  });

  it("shows what has no labels as 0 before the first time", async () => {
    const metrics = createMetrics();
    metrics.counter({ name: "plain_total", help: "P." });
    metrics.counter({ name: "labelled_total", help: "L.", labels: ["code"] });
    assert.deepEqual(await samplesOf(metrics), ["plain_total 0"]);
  });

  it("refuses a name twice, a name that is none, and a label that is none", () => {
    const metrics = createMetrics();
    metrics.counter({ name: "a_total", help: "A." });
    assert.throws(() => metrics.gauge({ name: "a_total", help: "A." }), /a_total/);
    assert.throws(() => metrics.counter({ name: "a-total", help: "A." }), /metric name/i);
    assert.throws(() => metrics.counter({ name: "b_total", help: "B.", labels: ["a-b"] }), /label name/i);
  });

  for (const by of [-1, NaN]) {
    it(`refuses to add ${by} to a counter, and leaves it as it was`, async () => {
      const metrics = createMetrics();
      const counter = metrics.counter({ name: "a_total", help: "A." });
      counter.inc({}, 2);
      assert.throws(() => counter.inc({}, by), { code: "ERR_OPTION_RANGE", message: /^what is added to a_total / });
      assert.deepEqual(await samplesOf(metrics), ["a_total 2"]);
    });
  }

  it("does not compile with a label that was not declared, or without one that was", () => {
    const metrics = createMetrics();
    const counter = metrics.counter({ name: "a_total", help: "A.", labels: ["code"] });
    // @ts-expect-error -- a path is no declared label
    assert.throws(() => counter.inc({ code: "200", path: "/x" }), /path/);
    // @ts-expect-error -- the code is missing
    counter.inc({});
    const gauge = metrics.gauge({ name: "a", help: "A.", labels: ["code"] });
    // @ts-expect-error -- a label is text
    gauge.set({ code: 200 }, 1);
  });

  it("keeps two apps apart", async () => {
    const first = createMetrics();
    const second = createMetrics();
    first.counter({ name: "a_total", help: "A." }).inc({});
    second.counter({ name: "a_total", help: "A." });
    assert.deepEqual([await samplesOf(first), await samplesOf(second)], [["a_total 1"], ["a_total 0"]]);
  });
});

describe("collectProcessMetrics", () => {
  it("tells CPU, memory, start and event-loop delay, in base units and plausible", async () => {
    const metrics = createMetrics();
    const sampling = collectProcessMetrics(metrics);
    const values = new Map((await samplesOf(metrics)).map((line) => [line.split(" ")[0], Number(line.split(" ")[1])]));
    const of = (name: string): number => values.get(name) ?? assert.fail(`${name} is missing`);
    assert.ok(of("process_cpu_seconds_total") > 0 && of("process_cpu_seconds_total") < 600);
    assert.ok(of("process_resident_memory_bytes") > 10e6);
    assert.ok(of("process_heap_used_bytes") > 1e6);
    assert.ok(Math.abs(of("process_start_time_seconds") - Date.now() / 1e3) < 3_600);
    for (const quantile of ["0.5", "0.99"]) {
      const seconds = of(`process_event_loop_delay_seconds{quantile="${quantile}"}`);
      assert.ok(seconds >= 0 && seconds < 60, `${seconds}`);
    }
    sampling.close();
    sampling.close();
    assert.ok((await metrics.expose()).body.includes("process_event_loop_delay_seconds"));
  });
});
