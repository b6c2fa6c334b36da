import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "../testing/fake-clock.ts";
import { StallingClock } from "../testing/stalling-clock.ts";
import { createHealth } from "./health.ts";
import { StallMonitor } from "./stall-monitor.ts";

function benchOf(options: { readonly maxStallMs?: number; readonly memoryMs?: number } = {}) {
  const clock = new StallingClock();
  const told: number[] = [];
  const stalls = new StallMonitor({
    clock,
    maxStallMs: 1_000,
    memoryMs: 5_000,
    onStall: (tookMs) => told.push(tookMs),
    ...options,
  });
  return { clock, stalls, told };
}

describe("StallMonitor", () => {
  it("notices nothing while the heartbeat comes in time", async () => {
    const { clock, stalls, told } = benchOf();
    await clock.advance(60_000);
    assert.deepEqual([stalls.stalledMs(), stalls.count, told], [0, 0, []]);
  });

  it("lets a stall of the limit pass, and remembers a longer one for its time after the end", async () => {
    const { clock, stalls, told } = benchOf();
    await clock.advance(1_000);
    clock.stall(1_000);
    await clock.advance(50); // the heartbeat
    assert.deepEqual([stalls.stalledMs(), stalls.count], [0, 0]);
    clock.stall(1_001);
    await clock.advance(50);
    assert.deepEqual([stalls.stalledMs(), stalls.count, told], [1_001, 1, [1_001]]);
    await clock.advance(4_999);
    assert.equal(stalls.stalledMs(), 1_001);
    await clock.advance(1);
    assert.deepEqual([stalls.stalledMs(), stalls.count], [0, 1]);
  });

  it("knows of a stall also before the heartbeat has come, and tells of it once", async () => {
    const { clock, stalls, told } = benchOf();
    clock.stall(3_000);
    assert.equal(stalls.stalledMs(), 2_950, "less than a beat too short");
    assert.deepEqual([stalls.count, told], [0, []]);
    await clock.advance(50);
    assert.deepEqual([stalls.stalledMs(), stalls.count, told], [3_000, 1, [3_000]]);
  });

  it("remembers each stall anew", async () => {
    const { clock, stalls } = benchOf();
    clock.stall(3_000);
    await clock.advance(4_000);
    clock.stall(2_000);
    await clock.advance(4_000);
    assert.deepEqual([stalls.stalledMs(), stalls.count], [2_000, 2]);
  });

  it("measures to a twentieth of the limit, with two heartbeats a second at least", async () => {
    for (const [maxStallMs, beatMs] of [
      [10, 5],
      [1_000, 50],
      [60_000, 500],
    ] as const) {
      const { clock, stalls } = benchOf({ maxStallMs });
      clock.stall(maxStallMs + beatMs);
      assert.equal(stalls.stalledMs(), 0);
      clock.stall(1);
      assert.equal(stalls.stalledMs(), maxStallMs + 1);
    }
  });

  it("leaves no timer when it is closed, twice as well, and notices nothing after it", () => {
    const { clock, stalls } = benchOf();
    stalls.close();
    stalls.close();
    assert.equal(clock.pending, 0);
    clock.stall(60_000);
    assert.equal(stalls.stalledMs(), 0);
  });

  for (const [field, value] of [
    ["maxStallMs", 0],
    ["maxStallMs", NaN],
    ["memoryMs", -1],
  ] as const) {
    it(`rejects ${field} ${value} and names it`, () => {
      assert.throws(() => benchOf({ [field]: value }), { code: "ERR_OPTION_RANGE", message: new RegExp(`^${field} `) });
    });
  }
});

describe("liveness", () => {
  it("ends with a stall above the limit, comes back after its memory, and is asked of nothing else", async () => {
    const { clock, stalls } = benchOf();
    const health = createHealth({ clock, stalls });
    health.register({ name: "store", run: () => Promise.reject(new Error("down")) });
    for (const phase of ["starting", "ready", "draining", "stopped"] as const) {
      health.setPhase(phase);
      await clock.advance(10_000);
      assert.deepEqual(health.liveness(), { alive: true, stalledMs: 0, maxStallMs: 1_000 });
    }
    clock.stall(2_000);
    await clock.advance(50);
    assert.deepEqual(health.liveness(), { alive: false, stalledMs: 2_000, maxStallMs: 1_000 });
    await clock.advance(5_000);
    assert.equal(health.liveness().alive, true);
    health.close();
    assert.equal(clock.pending, 0);
  });

  it("is always there where no stall is looked for", () => {
    assert.deepEqual(createHealth({ clock: new FakeClock() }).liveness(), { alive: true, stalledMs: 0 });
  });
});
