import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { systemClock } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { afterDrainGrace, drainGraceMs } from "./drain-grace.ts";

describe("afterDrainGrace", () => {
  it("runs its task once, when the grace is over", async () => {
    const clock = new FakeClock();
    let runs = 0;
    afterDrainGrace(clock, () => runs++);
    await clock.advance(drainGraceMs - 1);
    assert.equal(runs, 0);
    await clock.advance(1);
    assert.equal(runs, 1);
    await clock.advance(10 * drainGraceMs);
    assert.deepEqual([runs, clock.pending], [1, 0]);
  });

  it("runs nothing once it is cancelled: at once, half way, or when time is up and what has arrived is being read", async () => {
    for (const beforeMs of [0, drainGraceMs / 2, drainGraceMs]) {
      const clock = new FakeClock();
      const grace = afterDrainGrace(clock, () => assert.fail("it was cancelled"));
      // put in first, it comes before the turn that would run the task
      clock.schedule(beforeMs, () => grace.cancel());
      await clock.advance(2 * drainGraceMs);
      grace.cancel();
      assert.equal(clock.pending, 0);
    }
  });

  it("does not count the time in which the process stood still", async () => {
    let runs = 0;
    const grace = afterDrainGrace(systemClock, () => runs++);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, drainGraceMs + 50);
    for (let turns = 0; turns < 5; turns++) await turn();
    grace.cancel();
    assert.equal(runs, 0);
  });
});
