import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { Deadlines, type Due } from "./deadlines.ts";

function dueAt(deadlineAtMs: number, expire: () => void): Due {
  return { deadlineAtMs, dueBefore: undefined, dueAfter: undefined, expire };
}

describe("Deadlines", () => {
  it("expires each in its turn with one timer, and leaves out whatever has gone, wherever it stood", async () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    const expired: number[] = [];
    const startMs = clock.monotonicMs();
    const dues = [10, 20, 30, 40, 50].map((ms) => dueAt(startMs + ms, () => expired.push(ms)));
    for (const due of dues) deadlines.add(due);
    assert.equal(clock.pending, 1);
    for (const [at, due] of dues.entries()) if (at === 0 || at === 2 || at === 4) deadlines.remove(due);
    await clock.advance(20);
    assert.deepEqual(expired, [20]);
    await clock.advance(20);
    assert.deepEqual(expired, [20, 40]);
    assert.equal(clock.pending, 0);
  });

  it("forgets one that is removed twice, or after it has expired, and nobody else", async () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    const expired: string[] = [];
    const startMs = clock.monotonicMs();
    const [first, second] = [
      dueAt(startMs + 10, () => expired.push("first")),
      dueAt(startMs + 20, () => expired.push("second")),
    ];
    deadlines.add(first);
    deadlines.add(second);
    await clock.advance(10);
    deadlines.remove(first);
    deadlines.remove(first);
    await clock.advance(10);
    deadlines.remove(second);
    assert.deepEqual(expired, ["first", "second"]);
  });

  it("goes on behind one whose expiry throws", async () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    let hasExpired = false;
    const startMs = clock.monotonicMs();
    const fails = dueAt(startMs + 10, () => {
      throw new Error("broken");
    });
    deadlines.add(fails);
    deadlines.add(dueAt(startMs + 20, () => (hasExpired = true)));
    await assert.rejects(clock.advance(10), /broken/);
    await clock.advance(10);
    assert.equal(hasExpired, true);
  });

  it("leaves no timer when it is closed, and may be closed twice", () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    deadlines.add(dueAt(clock.monotonicMs() + 10, () => {}));
    deadlines.close();
    deadlines.close();
    assert.equal(clock.pending, 0);
  });
});
