import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runInContext } from "../context.ts";
import { FakeClock } from "../testing/fake-clock.ts";
import type { SpanContext } from "../tracing/traceparent.ts";
import { createMetrics } from "./create-metrics.ts";
import type { HistogramOptions } from "./metrics.ts";

const spanOf = (digit: string, sampled = true): SpanContext => ({
  traceId: digit.repeat(32),
  spanId: digit.repeat(16),
  sampled,
});

function start(options: Partial<HistogramOptions<never>> = { exemplars: true }) {
  const clock = new FakeClock(1_700_000_000_250);
  let setBackMs = 0;
  const metrics = createMetrics({
    clock: {
      now: () => clock.now() - setBackMs,
      monotonicMs: () => clock.monotonicMs(),
      schedule: (delayMs, task) => clock.schedule(delayMs, task),
    },
  });
  const histogram = metrics.histogram({ name: "wait_seconds", help: "W.", buckets: [0.1, 1], ...options });
  /** The buckets as OpenMetrics has them. */
  const buckets = async (accept = "application/openmetrics-text"): Promise<string[]> =>
    (await metrics.expose({ accept })).body.split("\n").filter((line) => line.startsWith("wait_seconds_bucket"));
  const setClockBack = (ms: number): number => (setBackMs += ms);
  return { clock, setClockBack, histogram, buckets };
}

const shown = (digit: string, value: number, at: string): string =>
  ` # {trace_id="${digit.repeat(32)}",span_id="${digit.repeat(16)}"} ${value} ${at}`;

describe("exemplars", () => {
  it("name beside each bucket the span of a value in it, in OpenMetrics alone", async () => {
    const { histogram, buckets } = start();
    histogram.observe({}, 0.05, spanOf("a"));
    histogram.observe({}, 5, spanOf("b"));
    assert.deepEqual(await buckets(), [
      `wait_seconds_bucket{le="0.1"} 1${shown("a", 0.05, "1700000000.25")}`,
      'wait_seconds_bucket{le="1.0"} 1',
      `wait_seconds_bucket{le="+Inf"} 2${shown("b", 5, "1700000000.25")}`,
    ]);
    assert.deepEqual(await buckets("text/plain"), [
      'wait_seconds_bucket{le="0.1"} 1',
      'wait_seconds_bucket{le="1"} 1',
      'wait_seconds_bucket{le="+Inf"} 2',
    ]);
  });

  it("come from the current request where no span is handed in, and from the one handed in first of all", async () => {
    const { histogram, buckets } = start();
    runInContext({ span: spanOf("c") }, () => {
      histogram.observe({}, 0.5);
      histogram.observe({}, 5, spanOf("d"));
    });
    const [, second, third] = await buckets();
    assert.match(second ?? "", /trace_id="c+"/);
    assert.match(third ?? "", /trace_id="d+"/);
  });

  it("are of sampled spans only: nobody finds the others", async () => {
    const { histogram, buckets } = start();
    histogram.observe({}, 0.5, spanOf("a", false));
    histogram.observe({}, 0.5);
    assert.doesNotMatch((await buckets()).join("\n"), /#/);
  });

  it("are replaced once a second at most, each bucket by itself, also after the clock was set back", async () => {
    const { clock, setClockBack, histogram, buckets } = start();
    const idOf = async (): Promise<string | undefined> =>
      /le="1.0"\} \d+ # \{trace_id="(.)/.exec((await buckets()).join("\n"))?.[1];
    histogram.observe({}, 0.5, spanOf("a"));
    await clock.advance(999);
    histogram.observe({}, 0.6, spanOf("b"));
    assert.equal(await idOf(), "a");
    await clock.advance(1);
    histogram.observe({}, 0.7, spanOf("c"));
    assert.equal(await idOf(), "c");
    setClockBack(3_600_000);
    histogram.observe({}, 0.8, spanOf("d"));
    assert.equal(await idOf(), "d");
  });

  it("are kept by histograms that ask for them alone", async () => {
    const { histogram, buckets } = start({});
    histogram.observe({}, 0.5, spanOf("a"));
    assert.doesNotMatch((await buckets()).join("\n"), /#/);
  });
});
