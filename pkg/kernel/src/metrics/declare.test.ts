import assert from "node:assert/strict";
import { basename } from "node:path";
import { describe, it } from "node:test";
import { createMetrics } from "./create-metrics.ts";
import type { MetricOptions } from "./metrics.ts";

/** What code without types hands in. */
const untyped = (value: unknown): never => value as never;

function declare(
  kind: "counter" | "gauge" | "histogram",
  options: Partial<Record<keyof MetricOptions<string>, unknown>>,
) {
  return createMetrics()[kind](untyped({ name: "notes_open", help: "Notes.", ...options }));
}

describe("declaring a metric", () => {
  for (const name of ["http_requests_total", "http2_v1_requests_total", "gateway_upstream_head_bytes_total"]) {
    it(`takes ${name} for a counter`, () => void declare("counter", { name }));
  }
  for (const name of ["pool_size", "app_info", "disk_free_ratio", "wait_seconds"]) {
    it(`takes ${name} for a gauge and a histogram`, () => {
      declare("gauge", { name });
      declare("histogram", { name });
    });
  }

  const names: readonly (readonly [kind: "counter" | "gauge" | "histogram", name: unknown, problem: RegExp])[] = [
    ["counter", "requests-total", /must be words of a-z and 0-9 joined by _/],
    ["counter", "requestsTotal", /must be words/],
    ["counter", "http__requests_total", /must be words/],
    ["counter", "_http_requests_total", /must be words/],
    ["counter", "http:requests_total", /must be words/],
    ["counter", "2_requests_total", /must be words/],
    ["gauge", "requests", /must be words of .* as <package>_<what>_<unit>/],
    ["gauge", "", /must be words/],
    ["gauge", undefined, /metric name "" must be words/],
    ["gauge", "a\nb_c", /metric name "a\u{fffd}b_c" must be words/u],
    ["counter", "http_requests", /must end in _total, as it is a counter's/],
    ["gauge", "http_requests_total", /must not end in _total, as it is a gauge's/],
    ["histogram", "http_seconds_total", /must not end in _total/],
    ["gauge", "http_requests_count", /must not end in _count/],
    ["histogram", "http_wait_bucket", /must not end in _bucket/],
    ["gauge", "http_wait_sum", /must not end in _sum/],
    ["gauge", "http_wait_created", /must not end in _created/],
    ["gauge", "http_requests_gauge", /must not say "gauge"/],
    ["histogram", "http_wait_milliseconds", /has the unit "milliseconds"; use the base unit seconds/],
    ["histogram", "http_wait_ms", /has the unit "ms"; use the base unit seconds/],
    ["counter", "http_kilobytes_total", /use the base unit bytes/],
    ["gauge", "disk_used_percent", /use the base unit ratio/],
    ["gauge", "token_age_hours", /use the base unit seconds/],
  ];
  for (const [kind, name, message] of names) {
    it(`refuses ${JSON.stringify(name)} for a ${kind}, and says what is wrong`, () => {
      assert.throws(() => declare(kind, { name }), { name: "MetricError", code: "ERR_METRIC_NAME", message });
    });
  }

  const labels: readonly (readonly [labels: readonly unknown[], problem: RegExp])[] = [
    [["status-class"], /label name "status-class" of metric notes_open must be words/],
    [["statusClass"], /must be words/],
    [["__name__"], /must be words/],
    [[""], /must be words/],
    [[7], /label name "7" .* must be words/],
    [["le"], /is what Prometheus calls its own/],
    [["quantile"], /is what Prometheus calls its own/],
    [["route", "code", "route"], /label name "route" of metric notes_open is declared twice/],
  ];
  for (const [given, message] of labels) {
    it(`refuses the labels ${JSON.stringify(given)}`, () => {
      assert.throws(() => declare("gauge", { labels: given }), { code: "ERR_METRIC_LABEL", message });
    });
  }

  for (const help of [undefined, "", "  ", 7]) {
    it(`refuses ${JSON.stringify(help)} as its help`, () => {
      assert.throws(() => declare("gauge", { help }), {
        code: "ERR_OPTION_TYPE",
        message: /^help of metric notes_open/,
      });
    });
  }

  for (const maxSeries of [0, -1, 1.5, NaN, "7"]) {
    it(`refuses ${maxSeries} as the most series`, () => {
      const message = /^maxSeries of metric notes_open must be a whole number from 1/;
      assert.throws(() => declare("gauge", { maxSeries }), { code: "ERR_OPTION_RANGE", message });
    });
  }

  for (const buckets of [[], [1, 1], [2, 1], [1, Infinity], [NaN]]) {
    it(`refuses the buckets [${buckets.join(", ")}]`, () => {
      const metrics = createMetrics();
      assert.throws(() => metrics.histogram({ name: "notes_open", help: "Notes.", buckets }), {
        code: "ERR_OPTION_RANGE",
        message: /^buckets of metric notes_open must be one or more finite numbers, rising/,
      });
      metrics.histogram({ name: "notes_open", help: "Notes." });
    });
  }

  it("refuses a name a second time, whatever the type, and tells where the first one is", () => {
    const metrics = createMetrics();
    metrics.counter({ name: "notes_read_total", help: "A." });
    const { line } = /declare\.test\.ts:(?<line>\d+)/.exec(new Error("here").stack ?? "")?.groups ?? {};
    const place = new RegExp(
      `notes_read_total is declared already at \\S*${basename(import.meta.filename)}:${Number(line) - 1}; `,
    );
    assert.throws(() => metrics.counter({ name: "notes_read_total", help: "A." }), {
      code: "ERR_METRIC_DECLARED",
      message: place,
    });
    assert.throws(() => metrics.gauge({ name: "notes_read", help: "A." }), {
      code: "ERR_METRIC_DECLARED",
      message: /notes_read is declared already as notes_read_total, which has the same name in OpenMetrics, at /,
    });
  });
});
