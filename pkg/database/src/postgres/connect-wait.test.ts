import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { DatabaseError, type DatabaseErrorCode } from "../errors.ts";
import { untilReachable } from "./connect-wait.ts";

const failure = (code: DatabaseErrorCode) => new DatabaseError(code, "unavailable", "away");

/** Fails so many times, then succeeds. */
function start(failures: number, code: DatabaseErrorCode = "ERR_DATABASE_UNAVAILABLE", connectWaitMs = 30_000) {
  const clock = new FakeClock();
  const triedAtMs: number[] = [];
  const waits: DatabaseError[] = [];
  const controller = new AbortController();
  const { signal } = controller;
  const work = async (): Promise<string> => {
    triedAtMs.push(clock.monotonicMs());
    if (triedAtMs.length <= failures) throw failure(code);
    return "connected";
  };
  const done = untilReachable(work, { clock, connectWaitMs, signal, onWait: (e) => waits.push(e), random: () => 0.5 });
  done.catch(() => {});
  return { clock, triedAtMs, waits, controller, done };
}

describe("untilReachable", () => {
  it("tries again with ever longer waits, up to two seconds, and tells of it once", async () => {
    const { clock, triedAtMs, waits, done } = start(7);
    const [first = 0] = triedAtMs;
    for (let step = 0; step < 200; step++) await clock.advance(50);
    assert.equal(await done, "connected");
    const gaps = triedAtMs.slice(1).map((atMs, index) => atMs - (triedAtMs[index] ?? first));
    assert.deepEqual(gaps, [100, 150, 250, 450, 850, 1_050, 1_050]);
    assert.equal(waits.length, 1);
  });

  it("gives up with the last error when the next try would be too late", async () => {
    const { clock, triedAtMs, done } = start(Infinity, "ERR_DATABASE_UNAVAILABLE", 400);
    for (let step = 0; step < 20; step++) await clock.advance(50);
    await assert.rejects(done, { code: "ERR_DATABASE_UNAVAILABLE" });
    assert.equal(triedAtMs.length, 3);
  });

  it("tries once where it may not wait", async () => {
    const { triedAtMs, waits, done } = start(1, "ERR_DATABASE_UNAVAILABLE", 0);
    await assert.rejects(done, { code: "ERR_DATABASE_UNAVAILABLE" });
    assert.deepEqual([triedAtMs.length, waits.length], [1, 0]);
  });

  for (const code of ["ERR_DATABASE_ACCESS", "ERR_DATABASE_SCHEMA", "ERR_DATABASE_TLS"] as const) {
    it(`does not try again after ${code}, which does not heal by itself`, async () => {
      const { triedAtMs, done } = start(1, code);
      await assert.rejects(done, { code });
      assert.equal(triedAtMs.length, 1);
    });
  }

  it("stops waiting when the start is called off", async () => {
    const { clock, controller, triedAtMs, done } = start(Infinity);
    await clock.advance(10);
    controller.abort(new Error("stop"));
    await assert.rejects(done, { code: "ERR_DATABASE_CANCELLED", status: "cancelled" });
    assert.equal(triedAtMs.length, 1);
  });
});
