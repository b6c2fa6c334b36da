import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sleep, systemClock } from "./clock.ts";
import { FakeClock } from "./testing/fake-clock.ts";

describe("systemClock", () => {
  it("tells the time since the epoch, and a time that never goes back", () => {
    const before = Date.now();
    assert.ok(systemClock.now() >= before);
    const first = systemClock.monotonicMs();
    assert.ok(systemClock.monotonicMs() >= first);
  });

  it("runs a task, unless it is cancelled before; cancelling again does nothing", async () => {
    const ran: string[] = [];
    const cancelled = systemClock.schedule(0, () => ran.push("cancelled"));
    cancelled.cancel();
    cancelled.cancel();
    const later = Promise.withResolvers<void>();
    systemClock.schedule(2, later.resolve);
    await later.promise;
    assert.deepEqual(ran, []);
    cancelled.cancel();
  });

  it("waits longer than a timer can, where a bare timer would fire at once", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    let runs = 0;
    const longestTimerMs = 2 ** 31 - 1;
    systemClock.schedule(longestTimerMs + 10, () => runs++);
    const forever = systemClock.schedule(Infinity, () => runs++);
    t.mock.timers.tick(longestTimerMs);
    t.mock.timers.tick(9);
    assert.equal(runs, 0);
    t.mock.timers.tick(1);
    assert.equal(runs, 1);
    t.mock.timers.tick(longestTimerMs);
    assert.equal(runs, 1);
    forever.cancel();
  });

  it("cancels a long wait also after its first turn", (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    let runs = 0;
    const task = systemClock.schedule(2 ** 32, () => runs++);
    t.mock.timers.tick(2 ** 31);
    task.cancel();
    t.mock.timers.tick(2 ** 32);
    assert.equal(runs, 0);
  });

  it("keeps the process alive unless told not to", () => {
    const active = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = active();
    const kept = systemClock.schedule(60_000, () => {});
    const notKept = systemClock.schedule(60_000, () => {}, { keepAlive: false });
    assert.equal(active(), before + 1);
    kept.cancel();
    notKept.cancel();
    assert.equal(active(), before);
  });
});

describe("sleep", () => {
  it("resolves when its time has come, and not before", async () => {
    const clock = new FakeClock();
    let isOver = false;
    const slept = sleep(clock, 100).then(() => (isOver = true));
    await clock.advance(99);
    assert.equal(isOver, false);
    await clock.advance(1);
    assert.equal(await slept, true);
  });

  it("rejects at once with the signal's reason, and leaves no task behind", async () => {
    const clock = new FakeClock();
    const controller = new AbortController();
    const slept = sleep(clock, 100, { signal: controller.signal });
    const reason = new Error("never mind");
    controller.abort(reason);
    await assert.rejects(slept, reason);
    assert.equal(clock.pending, 0);
  });

  it("does not begin when the signal has aborted before", async () => {
    const clock = new FakeClock();
    const reason = new Error("too late");
    await assert.rejects(sleep(clock, 100, { signal: AbortSignal.abort(reason) }), reason);
    assert.equal(clock.pending, 0);
  });

  it("takes its listener off the signal when it is over", async (t) => {
    const clock = new FakeClock();
    const { signal } = new AbortController();
    const removed = t.mock.method(signal, "removeEventListener");
    const slept = sleep(clock, 1, { signal });
    await clock.advance(1);
    await slept;
    assert.equal(removed.mock.callCount(), 1);
  });
});

describe("FakeClock", () => {
  it("stands still until told, both of its times alike", async () => {
    const clock = new FakeClock(1_000);
    assert.deepEqual([clock.now(), clock.monotonicMs()], [1_000, 0]);
    await clock.advance(250);
    assert.deepEqual([clock.now(), clock.monotonicMs()], [1_250, 250]);
  });

  it("runs what falls due in the order of its time, and of its scheduling at the same time", async () => {
    const clock = new FakeClock();
    const ran: string[] = [];
    const note = (name: string) => (): void => void ran.push(`${name}@${clock.monotonicMs()}`);
    clock.schedule(20, note("b"));
    clock.schedule(10, note("a1"));
    clock.schedule(10, note("a2"));
    clock.schedule(-5, note("now"));
    clock.schedule(31, note("later"));
    await clock.advance(30);
    assert.deepEqual(ran, ["now@0", "a1@10", "a2@10", "b@20"]);
    assert.equal(clock.pending, 1);
  });

  it("runs what a task schedules for the same stretch, after promises have settled", async () => {
    const clock = new FakeClock();
    const ran: number[] = [];
    const loop = async (): Promise<void> => {
      for (let turn = 0; turn < 3; turn++) {
        await sleep(clock, 10);
        ran.push(clock.monotonicMs());
      }
    };
    const looping = loop();
    await clock.advance(30);
    await looping;
    assert.deepEqual(ran, [10, 20, 30]);
  });

  it("runs nothing that was cancelled, also by a task of the same moment", async () => {
    const clock = new FakeClock();
    let runs = 0;
    const first = clock.schedule(10, () => second.cancel());
    const second = clock.schedule(10, () => runs++);
    await clock.advance(10);
    first.cancel();
    assert.equal(runs, 0);
    assert.equal(clock.pending, 0);
  });
});
