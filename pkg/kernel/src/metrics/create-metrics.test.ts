import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inspect } from "node:util";
import { FakeClock } from "../testing/fake-clock.ts";
import { createMetrics } from "./create-metrics.ts";
import { durationBucketsSeconds, type Gauge, type Metrics } from "./metrics.ts";

/** The lines of a scrape, without the comments and what every registry has of its own. */
async function samplesOf(metrics: Metrics): Promise<string[]> {
  const { body } = await metrics.expose();
  return body.split("\n").filter((line) => line !== "" && !/^#|^metrics_/.test(line));
}

/** Runs `work` and waits for a warning of the process that matches. */
async function warns(pattern: RegExp, work: () => unknown): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const onWarning = ({ message }: Error): void => {
    if (pattern.test(message)) resolve();
  };
  process.on("warning", onWarning);
  await work();
  await promise;
  process.off("warning", onWarning);
}

/** What code without types hands in. */
const untyped = (value: unknown): never => value as never;

describe("Metrics", () => {
  it("exposes counters, gauges and histograms in the Prometheus text format", async () => {
    const metrics = createMetrics();
    const requests = metrics.counter({ name: "http_requests_total", help: "Requests.", labels: ["route", "code"] });
    requests.inc({ route: "/notes/:id", code: "200" });
    requests.inc({ route: "/notes/:id", code: "200" }, 2.5);
    metrics.gauge({ name: "pool_size", help: "Connections." }).set({}, 7);
    const seconds = metrics.histogram({ name: "wait_seconds", help: "Waits.", labels: ["pool"], buckets: [0.1, 1] });
    seconds.observe({ pool: "a" }, 0.1);
    seconds.observe({ pool: "a" }, 5);
    const { contentType, body } = await metrics.expose();
    assert.equal(contentType, "text/plain; version=0.0.4; charset=utf-8");
    assert.equal(
      body.slice(body.indexOf("# HELP http_requests_total")),
      [
        "# HELP http_requests_total Requests.",
        "# TYPE http_requests_total counter",
        'http_requests_total{route="/notes/:id",code="200"} 3.5',
        "# HELP pool_size Connections.",
        "# TYPE pool_size gauge",
        "pool_size 7",
        "# HELP wait_seconds Waits.",
        "# TYPE wait_seconds histogram",
        'wait_seconds_bucket{le="0.1",pool="a"} 1',
        'wait_seconds_bucket{le="1",pool="a"} 1',
        'wait_seconds_bucket{le="+Inf",pool="a"} 2',
        'wait_seconds_sum{pool="a"} 5.1',
        'wait_seconds_count{pool="a"} 2',
        "",
      ].join("\n"),
    );
  });

  it("exposes the same as OpenMetrics to who asks for it: units, names of families, floats as bounds, an end", async () => {
    const metrics = createMetrics();
    metrics.counter({ name: "job_cpu_seconds_total", help: 'CPU of "jobs".' }).inc({}, 2);
    metrics.histogram({ name: "job_size_bytes", help: "Sizes.", buckets: [0.5, 1, 1e21] }).observe({}, 1);
    const { contentType, body } = await metrics.expose({ accept: "application/openmetrics-text" });
    assert.equal(contentType, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert.equal(
      body.slice(body.indexOf("# TYPE job_cpu_seconds")),
      [
        "# TYPE job_cpu_seconds counter",
        "# UNIT job_cpu_seconds seconds",
        '# HELP job_cpu_seconds CPU of \\"jobs\\".',
        "job_cpu_seconds_total 2",
        "# TYPE job_size_bytes histogram",
        "# UNIT job_size_bytes bytes",
        "# HELP job_size_bytes Sizes.",
        'job_size_bytes_bucket{le="0.5"} 0',
        'job_size_bytes_bucket{le="1.0"} 1',
        'job_size_bytes_bucket{le="1e+21"} 1',
        'job_size_bytes_bucket{le="+Inf"} 1',
        "job_size_bytes_sum 1",
        "job_size_bytes_count 1",
        "# EOF",
        "",
      ].join("\n"),
    );
  });

  it("escapes what could break a line in label values and help texts", async () => {
    const metrics = createMetrics();
    metrics.counter({ name: "odd_total", help: "First\nsecond \\ third.", labels: ["value"] }).inc({ value: 'a"b\\c' });
    const { body } = await metrics.expose();
    assert.match(body, /# HELP odd_total First\\nsecond \\\\ third\.\n/);
    assert.match(body, /odd_total\{value="a\\"b\\\\c"\} 1\n/);
  });

  it("has buckets from half a millisecond to ten seconds by default", async () => {
    const metrics = createMetrics();
    metrics.histogram({ name: "x_seconds", help: "X." }).observe({}, 1);
    const bounds = (await samplesOf(metrics)).flatMap((line) => /le="([\d.]+)"/.exec(line)?.[1] ?? []);
    assert.deepEqual(bounds.map(Number), durationBucketsSeconds);
  });

  it("shows what has no labels as 0 before the first time, and what something else keeps only when it is there", async () => {
    const metrics = createMetrics();
    metrics.counter({ name: "plain_total", help: "P." });
    metrics.counter({ name: "labelled_total", help: "L.", labels: ["code"] });
    metrics.gauge({ name: "kept_elsewhere", help: "K.", collect: () => {} });
    assert.deepEqual(await samplesOf(metrics), ["plain_total 0"]);
  });

  it("shows gauges that are not finite as Prometheus reads them", async () => {
    const metrics = createMetrics();
    const gauge = metrics.gauge({ name: "odd_values", help: "O.", labels: ["is"] });
    for (const value of [NaN, Infinity, -Infinity, -0, 1e300]) gauge.set({ is: String(value) }, value);
    assert.deepEqual(
      (await samplesOf(metrics)).map((line) => line.split(" ")[1]),
      ["NaN", "+Inf", "-Inf", "1e+300"].toSpliced(3, 0, "0"),
    );
  });

  it("keeps two apps apart", async () => {
    const first = createMetrics();
    const second = createMetrics();
    first.counter({ name: "notes_total", help: "A." }).inc({});
    second.counter({ name: "notes_total", help: "A." });
    assert.deepEqual([await samplesOf(first), await samplesOf(second)], [["notes_total 1"], ["notes_total 0"]]);
  });
});

describe("metrics that something else keeps", () => {
  it("are read at each scrape and only then, and show nothing that is no longer set", async () => {
    const metrics = createMetrics();
    const waiting = new Map([["mail", 3]]);
    let reads = 0;
    metrics.gauge({
      name: "queue_length",
      help: "Q.",
      labels: ["queue"],
      collect(gauge) {
        reads += 1;
        for (const [queue, length] of waiting) gauge.set({ queue }, length);
      },
    });
    metrics.counter({ name: "seen_total", help: "S.", collect: (counter) => counter.set({}, 10 + reads) });
    assert.equal(reads, 0);
    assert.deepEqual(await samplesOf(metrics), ['queue_length{queue="mail"} 3', "seen_total 11"]);
    waiting.clear();
    waiting.set("sms", 5);
    assert.deepEqual(await samplesOf(metrics), ['queue_length{queue="sms"} 5', "seen_total 12"]);
  });

  it("may be read asynchronously", async () => {
    const metrics = createMetrics();
    metrics.gauge({
      name: "disk_free_bytes",
      help: "D.",
      collect: async (gauge) => gauge.set({}, await Promise.resolve(9)),
    });
    assert.deepEqual(await samplesOf(metrics), ["disk_free_bytes 9"]);
  });

  const failures: readonly (readonly [how: string, collect: () => unknown])[] = [
    ["throws", () => assert.fail("no pool")],
    ["rejects", () => Promise.reject(new Error("no pool"))],
  ];
  for (const [how, collect] of failures) {
    it(`have no values where reading ${how}: the others are shown, it is counted each time and warned of once`, async () => {
      const metrics = createMetrics();
      let isBroken = true;
      metrics.gauge({
        name: "broken_value",
        help: "B.",
        collect: (gauge) => (isBroken ? untyped(collect()) : gauge.set({}, 7)),
      });
      metrics.gauge({ name: "fine_value", help: "F." }).set({}, 1);
      await warns(/^the value of metric broken_value could not be read: no pool$/, async () =>
        assert.deepEqual(await samplesOf(metrics), ["fine_value 1"]),
      );
      const others: Error[] = [];
      const onWarning = (warning: Error): number => others.push(warning);
      process.on("warning", onWarning);
      assert.match((await metrics.expose()).body, /^metrics_collect_failures_total\{metric="broken_value"\} 2$/m);
      isBroken = false;
      assert.deepEqual(await samplesOf(metrics), ["broken_value 7", "fine_value 1"]);
      assert.deepEqual(others, []);
      process.off("warning", onWarning);
      isBroken = true;
      await warns(/broken_value/, () => metrics.expose());
    });
  }

  it("have no values where reading hangs: after a second the others are shown, and it is not read again before it returns", async () => {
    const clock = new FakeClock();
    const metrics = createMetrics({ clock });
    const held: ((value: void) => void)[] = [];
    const gauges: Gauge[] = [];
    metrics.gauge({
      name: "slow_value",
      help: "S.",
      collect(gauge) {
        gauges.push(gauge);
        return new Promise((resolve) => held.push(resolve));
      },
    });
    metrics.gauge({ name: "fine_value", help: "F." }).set({}, 1);
    await warns(/slow_value could not be read: nothing after 1000 ms/, async () => {
      const scrape = samplesOf(metrics);
      await clock.advance(1_000);
      assert.deepEqual(await scrape, ["fine_value 1"]);
    });
    assert.deepEqual(await samplesOf(metrics), ["fine_value 1"]);
    assert.equal(held.length, 1);
    held[0]?.();
    await Promise.resolve();
    const scrape = samplesOf(metrics);
    gauges[1]?.set({}, 2);
    held[1]?.();
    assert.deepEqual(await scrape, ["slow_value 2", "fine_value 1"]);
  });

  it("are read on for the next scrape where the one that asked has left: that is no failure", async () => {
    const metrics = createMetrics({ clock: new FakeClock() });
    const { promise: read, resolve } = Promise.withResolvers<void>();
    let calls = 0;
    metrics.gauge({
      name: "slow_value",
      help: "S.",
      async collect(gauge) {
        calls += 1;
        await read;
        gauge.set({}, 1);
      },
    });
    const leaving = new AbortController();
    const left = metrics.expose({ signal: leaving.signal });
    leaving.abort(new Error("left"));
    await assert.rejects(left, { message: "left" });
    const next = metrics.expose();
    resolve();
    const { body } = await next;
    assert.match(body, /^slow_value 1$/m);
    assert.doesNotMatch(body, /^metrics_collect_failures_total\{/m);
    assert.equal(calls, 1);
  });
});

describe("a metric in code without types", () => {
  const wrong: readonly (readonly [what: string, labels: unknown, line: string])[] = [
    ["no labels at all", undefined, 'calls_total{a="",b=""} 1'],
    ["null for labels", null, 'calls_total{a="",b=""} 1'],
    ["a label too few", { a: "x" }, 'calls_total{a="x",b=""} 1'],
    ["a label too many", { a: "x", b: "y", c: "z" }, 'calls_total{a="x",b="y"} 1'],
    ["numbers, booleans and null", { a: 200, b: null }, 'calls_total{a="200",b=""} 1'],
    ["objects and symbols", { a: {}, b: Symbol("s") }, 'calls_total{a="[object]",b="[object]"} 1'],
    [
      "a getter that throws",
      {
        b: "y",
        get a() {
          return assert.fail("no");
        },
      },
      'calls_total{a="",b="y"} 1',
    ],
  ];
  for (const [what, labels, line] of wrong) {
    it(`takes ${what} for what can be made of it and throws nothing`, async () => {
      const metrics = createMetrics();
      metrics.counter({ name: "calls_total", help: "C.", labels: ["a", "b"] }).inc(untyped(labels));
      assert.deepEqual(await samplesOf(metrics), [line]);
    });
  }

  it("warns once of labels that are missing or too many, with those that are declared", async () => {
    const metrics = createMetrics();
    const counter = metrics.counter({ name: "calls_total", help: "C.", labels: ["a", "b"] });
    await warns(/^metric calls_total is used in a wrong way: no value was given for b; its labels are a, b$/, () => {
      counter.inc(untyped({ a: "x", path: "/1" }));
      counter.inc(untyped({ a: "y", b: "", path: "/2" }));
    });
    const other = metrics.counter({ name: "others_total", help: "C.", labels: ["a"] });
    await warns(/others_total .*: path is no label of it; its labels are a$/, () =>
      other.inc(untyped({ a: "", path: "/" })),
    );
  });

  for (const by of [-1, NaN, Infinity, "5", null, {}, Symbol("s")]) {
    it(`adds nothing for ${inspect(by)}, warns and throws nothing`, async () => {
      const metrics = createMetrics();
      const counter = metrics.counter({ name: "calls_total", help: "A." });
      counter.inc({}, 2);
      await warns(/calls_total .*: a counter takes finite numbers from 0, not /, () => counter.inc({}, untyped(by)));
      assert.deepEqual(await samplesOf(metrics), ["calls_total 2"]);
    });
  }

  it("leaves a histogram and a gauge as they were for values that are none", async () => {
    const metrics = createMetrics();
    const histogram = metrics.histogram({ name: "wait_seconds", help: "W.", buckets: [1] });
    const gauge = metrics.gauge({ name: "pool_size", help: "P." });
    await warns(/wait_seconds .*finite numbers, not NaN/, () => histogram.observe({}, NaN));
    await warns(/pool_size .*cannot be 7/, () => gauge.set({}, untyped("7")));
    for (const value of [Infinity, "1", undefined]) histogram.observe({}, untyped(value));
    assert.deepEqual(await samplesOf(metrics), [
      'wait_seconds_bucket{le="1"} 0',
      'wait_seconds_bucket{le="+Inf"} 0',
      "wait_seconds_sum 0",
      "wait_seconds_count 0",
      "pool_size 0",
    ]);
  });
});

// The compiler is the test here: each line marked as an error must be one, and no other may.
describe("the types of a metric", () => {
  it("take the labels that were declared, all of them and no others", () => {
    const metrics = createMetrics();
    const counter = metrics.counter({ name: "calls_total", help: "A.", labels: ["code", "route"] });
    counter.inc({ code: "200", route: "/" });
    // @ts-expect-error -- a path is no declared label
    counter.inc({ code: "200", route: "/", path: "/x" });
    // @ts-expect-error -- the route is missing
    counter.inc({ code: "200" });
    // @ts-expect-error -- a label is text
    counter.inc({ code: 200, route: "/" });
    // @ts-expect-error -- labels come first
    counter.inc(1);
    const plain = metrics.gauge({ name: "pool_size", help: "A." });
    plain.set({}, 1);
    // @ts-expect-error -- none were declared
    plain.set({ code: "200" }, 1);
    // @ts-expect-error -- a value is a number
    plain.set({}, "1");
  });

  it("hold for what `collect` sets, and for spans and options", () => {
    const metrics = createMetrics();
    metrics.gauge({
      name: "queue_length",
      help: "Q.",
      labels: ["queue"],
      collect(gauge) {
        gauge.set({ queue: "mail" }, 1);
        // @ts-expect-error -- not declared
        gauge.set({ pool: "mail" }, 1);
      },
    });
    // @ts-expect-error -- a counter has no exemplars
    metrics.counter({ name: "calls_total", help: "A.", exemplars: true });
    // @ts-expect-error -- no such way
    metrics.gauge({ name: "pool_size", help: "A.", aggregate: "median" });
    const histogram = metrics.histogram({ name: "wait_seconds", help: "A.", exemplars: true });
    // @ts-expect-error -- a span has two ids and says whether it is sampled
    histogram.observe({}, 1, { traceId: "a" });
  });
});
