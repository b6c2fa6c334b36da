import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { HealthCheck } from "./check.ts";
import { diskSpaceCheck } from "./disk-space-check.ts";
import { eventLoopCheck } from "./event-loop-check.ts";
import { heapCheck } from "./heap-check.ts";

const run = async (check: HealthCheck): Promise<void> => check.run({ signal: new AbortController().signal });

describe("the check event-loop", () => {
  it("fails after the event loop was held up again and again, and passes when that has passed", async () => {
    using check = closing(eventLoopCheck({ maxDelayMs: 50 }));
    await run(check);
    for (let turn = 0; turn < 5; turn++) {
      const endMs = performance.now() + 200;
      while (performance.now() < endMs);
      await wait(1);
    }
    await assert.rejects(
      run(check),
      /^Error: the event loop was late by \d{3} ms at p99 since the last run, above 50 ms$/,
    );
    await run(check); // hardly anything has happened since
    assert.equal(check.critical, false);
  });

  it("takes no account of what was before its first run", async () => {
    using check = closing(eventLoopCheck({ maxDelayMs: 1 }));
    const endMs = performance.now() + 100;
    while (performance.now() < endMs);
    await run(check);
  });
});

function closing<T extends { close(): void }>(value: T): T & Disposable {
  return Object.assign(value, { [Symbol.dispose]: () => value.close() });
}

describe("the check heap", () => {
  it("fails above the ratio of V8's limit, in words without addresses", async () => {
    const use = () => ({ used_heap_size: 1_900 * 2 ** 20, heap_size_limit: 2_000 * 2 ** 20 });
    await run(heapCheck({ maxUsedRatio: 0.95, use }));
    const message = "1900 MiB of 2000 MiB of heap are used, above a ratio of 0.9";
    await assert.rejects(run(heapCheck({ maxUsedRatio: 0.9, use })), { message });
  });

  it("asks V8, whose heap is never over its limit and never empty", async () => {
    await run(heapCheck({ maxUsedRatio: 1 }));
    await assert.rejects(run(heapCheck({ maxUsedRatio: 1e-9 })), /of heap are used/);
  });
});

describe("diskSpaceCheck", () => {
  it("asks the disk that the path is on", async () => {
    await run(diskSpaceCheck({ path: import.meta.dirname, minFreeBytes: 1 }));
    const check = diskSpaceCheck({ path: import.meta.dirname, minFreeBytes: Number.MAX_SAFE_INTEGER });
    await assert.rejects(run(check), (error: Error) => {
      return /^\d+ bytes are free at \S+, fewer than 9007199254740991$/.test(error.message);
    });
  });

  it("fails for a path that is not there", async () => {
    await assert.rejects(run(diskSpaceCheck({ path: "/nowhere/at/all", minFreeBytes: 1 })), { code: "ENOENT" });
  });

  it("only degrades, under the name disk-space, unless told otherwise", () => {
    const options = { path: "/", minFreeBytes: 1 };
    const { name, critical } = diskSpaceCheck(options);
    assert.deepEqual([name, critical], ["disk-space", false]);
    const own = diskSpaceCheck({ ...options, name: "uploads", critical: true, intervalMs: 60_000 });
    assert.deepEqual([own.name, own.critical, own.intervalMs], ["uploads", true, 60_000]);
  });

  for (const minFreeBytes of [0, -1, 1.5, NaN]) {
    it(`rejects ${minFreeBytes} as minFreeBytes and names it`, () => {
      assert.throws(() => diskSpaceCheck({ path: "/", minFreeBytes }), {
        code: "ERR_OPTION_RANGE",
        message: /^minFreeBytes /,
      });
    });
  }
});
