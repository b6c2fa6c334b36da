import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createMetrics } from "../metrics/create-metrics.ts";
import type { FamilySnapshot, MetricsSnapshot } from "../metrics/snapshot.ts";
import { maxDeadSeries, Totals } from "./totals.ts";

/** What a worker tells that has served so many requests, of routes of its own. */
async function served(requests: Readonly<Record<string, number>>): Promise<MetricsSnapshot> {
  const metrics = createMetrics();
  const total = metrics.counter({ name: "requests_total", help: "Requests.", labels: ["route"], maxSeries: 10_000 });
  const size = metrics.histogram({
    name: "size_bytes",
    help: "Sizes.",
    labels: ["route"],
    buckets: [10, 100],
    maxSeries: 10_000,
  });
  const active = metrics.gauge({ name: "active_requests", help: "Being served." });
  for (const [route, count] of Object.entries(requests)) {
    total.inc({ route }, count);
    size.observe({ route }, 50);
  }
  active.set({}, 5);
  return metrics.snapshot();
}

function family(snapshot: MetricsSnapshot, name: string): FamilySnapshot {
  const found = snapshot.families.find((each) => each.name === name);
  assert.ok(found, `no ${name}`);
  return found;
}

const totalsOf = (snapshot: MetricsSnapshot): Record<string, unknown> => {
  const requests = family(snapshot, "requests_total");
  assert.ok(requests.type === "counter");
  return Object.fromEntries(requests.series.map(({ values, value }) => [values.join(","), value]));
};
const refuse = (message: string): void => assert.fail(message);

describe("the totals of dead workers", () => {
  it("are added to those of the living: counters and histograms, not gauges", async () => {
    const totals = new Totals(refuse);
    totals.add(await served({ "/a": 10, "/b": 1 }));
    totals.add(await served({ "/a": 5 }));
    const all = await totals.with([await served({ "/a": 1, "/c": 2 })]);
    assert.deepEqual(totalsOf(all), { "/a": 16, "/b": 1, "/c": 2 });
    const size = family(all, "size_bytes");
    assert.ok(size.type === "histogram");
    assert.deepEqual(
      size.series.map(({ values, counts, sum }) => [values[0], counts, sum]),
      [
        ["/a", [0, 3, 0], 150],
        ["/c", [0, 1, 0], 50],
        ["/b", [0, 1, 0], 50],
      ],
    );
    const active = family(all, "active_requests");
    assert.deepEqual(active.series, [{ values: [], value: 5 }]);
  });

  it("are still there when nobody lives", async () => {
    const totals = new Totals(refuse);
    totals.add(await served({ "/a": 10 }));
    const all = await totals.with([]);
    assert.deepEqual(totalsOf(all), { "/a": 10 });
    assert.equal(
      all.families.find(({ name }) => name === "active_requests"),
      undefined,
    );
  });

  it("are those of the moment of asking: who dies meanwhile is not counted twice", async () => {
    const totals = new Totals(refuse);
    const last = await served({ "/a": 10 });
    const asked = totals.with([last]);
    totals.add(last);
    assert.deepEqual(totalsOf(await asked), { "/a": 10 });
    assert.deepEqual(totalsOf(await totals.with([])), { "/a": 10 });
  });

  it("keep so many series of each metric, and add the others up in one, so that no sum falls", async () => {
    const totals = new Totals(refuse);
    const routes = (from: number, to: number): Record<string, number> =>
      Object.fromEntries(Array.from({ length: to - from }, (_, index) => [`/${from + index}`, 1]));
    totals.add(await served(routes(0, maxDeadSeries)));
    const before = totalsOf(await totals.with([]));
    totals.add(await served(routes(maxDeadSeries, maxDeadSeries + 500)));
    totals.add(await served(routes(maxDeadSeries + 250, maxDeadSeries + 600)));
    const after = totalsOf(await totals.with([]));
    assert.equal(Object.keys(after).length, maxDeadSeries + 1);
    assert.equal(after["_overflow"], 850);
    for (const route of Object.keys(before)) assert.equal(after[route], before[route]);
  });

  it("give way to a metric that is declared differently now", async () => {
    const refused: string[] = [];
    const totals = new Totals((message) => void refused.push(message));
    totals.add(await served({ "/a": 10 }));
    const updated = createMetrics();
    updated
      .counter({ name: "requests_total", help: "Requests.", labels: ["route", "method"] })
      .inc({ route: "/a", method: "GET" });
    updated
      .histogram({ name: "size_bytes", help: "Sizes.", labels: ["route"], buckets: [1] })
      .observe({ route: "/a" }, 1);
    const now = await updated.snapshot();
    assert.deepEqual(totalsOf(await totals.with([now])), { "/a,GET": 1 });
    totals.add(now);
    assert.deepEqual(totalsOf(await totals.with([now])), { "/a,GET": 2 });
    assert.deepEqual(refused, []);
  });

  it("survive a snapshot that cannot be added", async () => {
    const refused: string[] = [];
    const totals = new Totals((message) => void refused.push(message));
    totals.add(await served({ "/a": 10 }));
    const broken: MetricsSnapshot = JSON.parse(
      '{"families":[{"name":"requests_total","type":"counter","aggregate":"sum","labels":["route"],"series":null}]}',
    );
    totals.add(broken);
    totals.add(await served({ "/a": 1 }));
    assert.deepEqual(totalsOf(await totals.with([])), { "/a": 11 });
    assert.equal(refused.length, 1);
  });
});
