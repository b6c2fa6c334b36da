import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { type CapVerdict, createConcurrencyCap } from "./concurrency-cap.ts";

/** Settles promises that need no time. */
const settled = async () => new Promise(setImmediate);

describe("createConcurrencyCap", () => {
  it("gives places while there are any, then makes wait, first come, first served", async () => {
    const cap = createConcurrencyCap({ maxInFlight: 2, clock: new FakeClock() });
    assert.equal(cap.tryAcquire(), true);
    assert.equal(await cap.acquire(), "taken");
    assert.equal(cap.tryAcquire(), false);
    const order: string[] = [];
    for (const name of ["first", "second"]) void cap.acquire().then(() => order.push(name));
    cap.release();
    assert.equal(cap.tryAcquire(), false, "nobody overtakes who waits");
    await settled();
    assert.deepEqual(order, ["first"]);
    cap.release();
    await settled();
    assert.deepEqual(order, ["first", "second"]);
    assert.equal(cap.inFlight, 2);
  });

  it("refuses at once when the queue is full, nobody may wait, or no time is left", async () => {
    const clock = new FakeClock();
    const cap = createConcurrencyCap({ maxInFlight: 1, maxQueue: 1, clock });
    cap.tryAcquire();
    void cap.acquire();
    assert.equal(await cap.acquire(), "queue_full");
    assert.equal(await cap.acquire({ timeoutMs: 0 }), "too_late");
    assert.equal(await cap.acquire({ timeoutMs: NaN }), "too_late");
    assert.equal(await cap.acquire({ signal: AbortSignal.abort() }), "cancelled");
    assert.equal(cap.refused, 3);
    const strict = createConcurrencyCap({ maxInFlight: 1, maxQueue: 0, clock });
    assert.equal(await strict.acquire(), "taken");
    assert.equal(await strict.acquire(), "queue_full");
  });

  it("lets go who has no time left, at the time and not when a place comes free", async () => {
    const clock = new FakeClock();
    const cap = createConcurrencyCap({ maxInFlight: 1, maxQueue: 5, maxWaitMs: 100, clock });
    cap.tryAcquire();
    const verdicts: CapVerdict[] = [];
    for (const timeoutMs of [undefined, 50, 500])
      void cap.acquire({ timeoutMs }).then((verdict) => verdicts.push(verdict));
    await clock.advance(50);
    assert.deepEqual(verdicts, ["too_late"]);
    assert.equal(cap.waiting, 2);
    await clock.advance(50);
    assert.deepEqual(verdicts, ["too_late", "too_late", "too_late"]);
    assert.equal(cap.waiting, 0);
    cap.release();
    assert.equal(cap.inFlight, 0);
    assert.equal(clock.pending, 0);
  });

  it("lets go who is cancelled, from the middle of the queue, and leaves nothing behind on signal or clock", async () => {
    const clock = new FakeClock();
    const cap = createConcurrencyCap({ maxInFlight: 1, maxQueue: 5, clock });
    cap.tryAcquire();
    const controller = new AbortController();
    const verdicts: string[] = [];
    void cap.acquire().then((verdict) => verdicts.push(`a ${verdict}`));
    void cap.acquire({ signal: controller.signal }).then((verdict) => verdicts.push(`b ${verdict}`));
    void cap.acquire().then((verdict) => verdicts.push(`c ${verdict}`));
    controller.abort();
    await settled();
    assert.deepEqual(verdicts, ["b cancelled"]);
    cap.release();
    cap.release();
    await settled();
    assert.deepEqual(verdicts, ["b cancelled", "a taken", "c taken"]);
    assert.equal(clock.pending, 0);
  });

  it("does not give a place twice to one whose signal aborts as it is given", async () => {
    const cap = createConcurrencyCap({ maxInFlight: 1, clock: new FakeClock() });
    cap.tryAcquire();
    const controller = new AbortController();
    const waiting = cap.acquire({ signal: controller.signal });
    cap.release();
    controller.abort();
    assert.equal(await waiting, "taken");
    assert.deepEqual([cap.inFlight, cap.waiting], [1, 0]);
  });

  it("serves the latest first once the first has waited too long, and goes back to turns when the queue is short", async () => {
    const clock = new FakeClock();
    const cap = createConcurrencyCap({ maxInFlight: 1, maxQueue: 9, maxWaitMs: 1_000, lifoAfterMs: 100, clock });
    cap.tryAcquire();
    const order: string[] = [];
    const wait = (name: string) => void cap.acquire().then((verdict) => order.push(`${name} ${verdict}`));
    wait("a");
    wait("b");
    await clock.advance(100);
    wait("c");
    cap.release();
    await settled();
    assert.deepEqual(order, ["c taken"]);
    await clock.advance(900);
    assert.deepEqual(order, ["c taken", "a too_late", "b too_late"]);
    wait("d");
    wait("e");
    cap.release();
    cap.release();
    await settled();
    assert.deepEqual(order.slice(3), ["d taken", "e taken"]);
  });

  it("takes other limits while it runs", async () => {
    const cap = createConcurrencyCap({ maxInFlight: 1, maxQueue: 2, clock: new FakeClock() });
    cap.tryAcquire();
    const waiting = [cap.acquire(), cap.acquire()];
    cap.resize({ maxInFlight: 3 });
    assert.deepEqual(await Promise.all(waiting), ["taken", "taken"]);
    cap.resize({ maxInFlight: 1 });
    cap.release();
    cap.release();
    assert.equal(cap.tryAcquire(), false);
    cap.release();
    assert.equal(cap.tryAcquire(), true);
    cap.resize({ maxInFlight: 0 });
    cap.release();
    assert.equal(cap.tryAcquire(), false, "without places all wait");
    assert.throws(() => cap.resize({ maxInFlight: -1 }), { code: "ERR_OPTION_RANGE", message: /^maxInFlight / });
  });

  it("has who comes from now on wait as long as it says now", async () => {
    const clock = new FakeClock();
    const cap = createConcurrencyCap({ maxInFlight: 1, maxQueue: 5, maxWaitMs: 100, clock });
    cap.tryAcquire();
    const verdicts: string[] = [];
    void cap.acquire().then((verdict) => verdicts.push(`before ${verdict}`));
    cap.resize({ maxWaitMs: 50 });
    void cap.acquire().then((verdict) => verdicts.push(`after ${verdict}`));
    await clock.advance(50);
    assert.deepEqual(verdicts, ["after too_late"]);
    await clock.advance(50);
    assert.deepEqual(verdicts, ["after too_late", "before too_late"]);
    assert.throws(() => cap.resize({ maxWaitMs: NaN }), { code: "ERR_OPTION_RANGE", message: /^maxWaitMs / });
  });

  it("refuses options out of range by name", () => {
    const code = "ERR_OPTION_RANGE";
    assert.throws(() => createConcurrencyCap({ maxInFlight: 0 }), { code, message: /^maxInFlight / });
    assert.throws(() => createConcurrencyCap({ maxInFlight: 1, maxQueue: -1 }), { code, message: /^maxQueue / });
    assert.throws(() => createConcurrencyCap({ maxInFlight: 1, maxWaitMs: NaN }), { code, message: /^maxWaitMs / });
  });
});
