import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { describe, it } from "node:test";
import { coreModule } from "../core-module.ts";
import { checkLeaks } from "../testing/leaks.ts";
import { testApp } from "../testing/test-app.ts";
import { createMetrics } from "./create-metrics.ts";
import type { Metrics } from "./metrics.ts";
import { collectProcessMetrics } from "./process-metrics.ts";

async function valuesOf(metrics: Metrics): Promise<(name: string) => number> {
  const { body } = await metrics.expose();
  const values = new Map(body.split("\n").map((line) => [line.split(" ")[0], Number(line.split(" ")[1])]));
  return (name) => values.get(name) ?? assert.fail(`${name} is missing`);
}

describe("collectProcessMetrics", () => {
  it("tells CPU, memory, start, event loop and resources, in base units and plausible", async () => {
    const metrics = createMetrics();
    const sampling = collectProcessMetrics(metrics);
    const of = await valuesOf(metrics);
    assert.ok(of("process_cpu_seconds_total") > 0 && of("process_cpu_seconds_total") < 600);
    assert.ok(of("process_resident_memory_bytes") > 10e6);
    assert.ok(of("process_heap_used_bytes") > 1e6);
    assert.ok(of("process_heap_size_bytes") >= of("process_heap_used_bytes"));
    assert.ok(of("process_heap_limit_bytes") > of("process_heap_size_bytes"));
    assert.ok(of("process_external_memory_bytes") > 0);
    assert.ok(of('process_heap_space_used_bytes{space="old_space"}') > 0);
    assert.ok(Math.abs(of("process_start_time_seconds") - Date.now() / 1e3) < 3_600);
    for (const state of ["active", "idle"]) {
      const seconds = of(`process_event_loop_seconds_total{state="${state}"}`);
      assert.ok(seconds >= 0 && seconds < 600, `${state}: ${seconds}`);
    }
    for (const stat of ["mean", "p50", "p99", "max"]) {
      const seconds = of(`process_event_loop_delay_seconds{stat="${stat}"}`);
      assert.ok(seconds >= 0 && seconds < 60, `${stat}: ${seconds}`);
    }
    sampling.close();
  });

  it("tells how long the event loop was held up", async () => {
    const metrics = createMetrics();
    const sampling = collectProcessMetrics(metrics);
    await delay(50); // until it samples
    const until = performance.now() + 200;
    while (performance.now() < until);
    await delay(50);
    const of = await valuesOf(metrics);
    const longest = of('process_event_loop_delay_seconds{stat="max"}');
    assert.ok(longest >= 0.15, `${longest}`);
    sampling.close();
  });

  it("counts files and their limit on Linux, and says nothing of them elsewhere", async () => {
    const metrics = createMetrics();
    const sampling = collectProcessMetrics(metrics);
    const { body } = await metrics.expose();
    const has = (name: string): boolean => new RegExp(`^${name} [1-9]`, "m").test(body);
    const isLinux = process.platform === "linux";
    assert.deepEqual([has("process_open_fds"), has("process_max_fds")], [isLinux, isLinux]);
    sampling.close();
  });

  it("tells how long collections of garbage took, by kind", async () => {
    const metrics = createMetrics();
    const sampling = collectProcessMetrics(metrics);
    const kinds = async (): Promise<string[]> =>
      [...(await metrics.expose()).body.matchAll(/process_gc_duration_seconds_count\{kind="(\w+)"\} [1-9]/g)].map(
        ([, kind = ""]) => kind,
      );
    const waste: unknown[] = [];
    while ((await kinds()).length === 0) {
      for (let index = 0; index < 100_000; index += 1) waste[index] = { index };
      await delay(1);
    }
    assert.ok((await kinds()).every((kind) => ["minor", "major", "incremental", "weak_callbacks"].includes(kind)));
    sampling.close();
  });

  it("leaves nothing behind when it is closed, which may be twice, and still shows what it knows", async () => {
    const leaks = checkLeaks();
    const metrics = createMetrics();
    const sampling = collectProcessMetrics(metrics);
    sampling.close();
    sampling.close();
    const before = (await metrics.expose()).body;
    assert.match(before, /process_event_loop_delay_seconds\{stat="max"\} \d/);
    const waste = Array.from({ length: 1_000_000 }, (_, index) => ({ index }));
    await delay(10);
    assert.equal(waste.length, 1_000_000);
    const collections = /process_gc_duration_seconds_count.*/g;
    assert.deepEqual((await metrics.expose()).body.match(collections), before.match(collections));
    await leaks.assertNone();
  });

  it("is closed with its app, whose last scrape still answers", async () => {
    const leaks = checkLeaks();
    const app = await testApp({ name: "notes", modules: [coreModule] });
    await app.stop();
    await leaks.assertNone();
  });
});
