import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { describe, it } from "node:test";
import { Counter, Registry } from "@prometheus-io/client";
import { currentContext, runInContext } from "../context.ts";
import { createMetrics } from "./create-metrics.ts";
import { createExposition } from "./exposition.ts";
import type { MetricsSnapshot, ValueSample } from "./snapshot.ts";

const openmetrics = { accept: "application/openmetrics-text" };
const empty: MetricsSnapshot = { families: [] };

/** What this thread has had of a processor, in milliseconds: not what others of the machine had meanwhile. */
function threadMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1e3;
}

/** An exposition whose readings end when the test says so. */
function held() {
  const readings: { readonly signal: AbortSignal; readonly end: (snapshot: MetricsSnapshot | Error) => void }[] = [];
  const exposition = createExposition(
    (signal) =>
      new Promise((resolve, reject) => {
        readings.push({ signal, end: (result) => (result instanceof Error ? reject(result) : resolve(result)) });
      }),
  );
  return { exposition, readings };
}

/** So many series of one counter; each that is written is counted. */
function manySeries(count: number) {
  const written = { count: 0 };
  const series = Array.from({ length: count }, (_, index): ValueSample => {
    return {
      values: ["GET", `/notes/${index}`],
      get value() {
        written.count += 1;
        return index;
      },
    };
  });
  const snapshot: MetricsSnapshot = {
    families: [
      { name: "calls_total", help: "C.", type: "counter", labels: ["method", "route"], aggregate: "sum", series },
    ],
  };
  return { written, snapshot };
}

describe("scrapes at the same time", () => {
  it("share one reading in all formats, and one text in each", async () => {
    const { exposition, readings } = held();
    const scrapes = Array.from({ length: 20 }, (_, index) => exposition.expose(index % 2 === 0 ? {} : openmetrics));
    assert.equal(readings.length, 1);
    readings[0]?.end(empty);
    const exposed = await Promise.all(scrapes);
    assert.equal(new Set(exposed).size, 2);
    assert.deepEqual([exposed[0]?.body, exposed[1]?.body], ["", "# EOF\n"]);
    const next = exposition.expose();
    assert.equal(readings.length, 2);
    readings[1]?.end(empty);
    assert.notEqual(await next, exposed[0]);
  });

  it("go on for the others when one is given up", async () => {
    const { exposition, readings } = held();
    const leaving = new AbortController();
    const given = exposition.expose({ signal: leaving.signal });
    const others = [exposition.expose({ signal: new AbortController().signal }), exposition.expose()];
    leaving.abort(new Error("gone"));
    await assert.rejects(given, { message: "gone" });
    assert.equal(readings[0]?.signal.aborted, false);
    readings[0]?.end(empty);
    assert.deepEqual(
      (await Promise.all(others)).map(({ body }) => body),
      ["", ""],
    );
  });

  it("stop the reading when all are given up, and the next one begins another", async () => {
    const { exposition, readings } = held();
    const leaving = [new AbortController(), new AbortController()];
    const given = leaving.map(({ signal }) => exposition.expose({ signal }));
    for (const controller of leaving) controller.abort(new Error("gone"));
    for (const scrape of given) await assert.rejects(scrape, { message: "gone" });
    assert.equal(readings[0]?.signal.aborted, true);
    const next = exposition.expose();
    assert.equal(readings.length, 2);
    readings[0]?.end(new Error("late"));
    readings[1]?.end(empty);
    assert.equal((await next).body, "");
  });

  it("all fail when the reading fails, and the next one may succeed", async () => {
    const { exposition, readings } = held();
    const scrapes = [exposition.expose(), exposition.expose(openmetrics)];
    readings[0]?.end(new Error("no worker answered"));
    for (const scrape of scrapes) await assert.rejects(scrape, { message: "no worker answered" });
    const next = exposition.expose();
    readings[1]?.end(empty);
    assert.equal((await next).body, "");
  });

  it("read nothing for a signal that has aborted", async () => {
    const { exposition, readings } = held();
    await assert.rejects(exposition.expose({ signal: AbortSignal.abort(new Error("gone")) }), { message: "gone" });
    assert.equal(readings.length, 0);
  });

  it("belong to no request, though one of them started the reading", async () => {
    const contexts: unknown[] = [];
    const exposition = createExposition(async () => {
      contexts.push(currentContext());
      return empty;
    });
    await runInContext({ requestId: "r" }, () => exposition.expose());
    assert.deepEqual(contexts, [undefined]);
  });
});

describe("the text of a scrape", () => {
  it("is no longer made when nobody waits for it", async () => {
    const { written, snapshot } = manySeries(50_000);
    const leaving = new AbortController();
    const scrape = createExposition(async () => snapshot).expose({ signal: leaving.signal });
    while (written.count === 0) await setImmediate();
    leaving.abort(new Error("gone"));
    await assert.rejects(scrape, { message: "gone" });
    const { count } = written;
    for (let turn = 0; turn < 10; turn += 1) await setImmediate();
    assert.equal(written.count, count);
    assert.ok(count < 50_000, `${count} were written`);
  });

  // Ratios of one run, and the best of several rounds: what else the machine does can only make them worse.
  const rounds = 7;

  it("is made in slices between which everything else has its turn", async () => {
    const { snapshot } = manySeries(100_000);
    const exposition = createExposition(async () => snapshot);
    const shares: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const scraping = { isDone: false };
      const scrape = exposition.expose().then(() => (scraping.isDone = true));
      const begunMs = threadMs();
      let longestMs = 0;
      for (let lastMs = begunMs; !scraping.isDone; lastMs = threadMs()) {
        await setImmediate();
        longestMs = Math.max(longestMs, threadMs() - lastMs);
      }
      await scrape;
      shares.push(longestMs / (threadMs() - begunMs));
    }
    assert.ok(
      Math.min(...shares) < 0.33,
      `the longest slice was ${shares.map((share) => share.toFixed(2)).join(", ")} of the whole`,
    );
  });

  it("takes no more than twice the CPU that the Prometheus client takes for it in one go", async () => {
    const count = 5_000;
    const metrics = createMetrics();
    const registry = new Registry();
    const labels = ["method", "route"] as const;
    const own = metrics.counter({ name: "calls_total", help: "C.", labels, maxSeries: count });
    const peer = new Counter({ name: "calls_total", help: "C.", labelNames: labels, registers: [registry] });
    for (let index = 0; index < count; index += 1) {
      for (const counter of [own, peer]) counter.inc({ method: "GET", route: `/notes/${index}` });
    }
    const cpuMsOf = async (work: () => Promise<unknown>): Promise<number> => {
      const beforeMs = threadMs();
      for (let time = 0; time < 10; time += 1) await work();
      return threadMs() - beforeMs;
    };
    const ratios: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const peerMs = await cpuMsOf(() => registry.metrics());
      ratios.push((await cpuMsOf(() => metrics.expose())) / peerMs);
    }
    assert.ok(Math.min(...ratios) < 2, `it took ${ratios.map((ratio) => ratio.toFixed(2)).join(", ")} times as much`);
  });
});
