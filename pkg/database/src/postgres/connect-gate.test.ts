import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import { DatabaseError } from "../errors.ts";
import { ConnectGate } from "./connect-gate.ts";

const refused = new DatabaseError("ERR_DATABASE_UNAVAILABLE", "unavailable", "the database cannot be reached", {
  sqlState: "57P03",
});

function open(random = 1) {
  const clock = new FakeClock();
  const gate = new ConnectGate({ clock, random: () => random });
  return { clock, gate, fail: () => gate.failed(refused, clock.monotonicMs()) };
}

describe("ConnectGate", () => {
  it("lets everything through while connecting works", () => {
    const { gate } = open();
    assert.deepEqual([gate.admit(7, 3), gate.waitMs], [7, 0]);
  });

  it("lets nothing through after a failure, then one attempt at a time", async () => {
    const { clock, gate, fail } = open();
    fail();
    assert.deepEqual([gate.admit(7, 0), gate.waitMs], [0, 100]);
    await clock.advance(99);
    assert.equal(gate.admit(7, 0), 0);
    await clock.advance(1);
    assert.deepEqual([gate.admit(7, 0), gate.admit(7, 1), gate.admit(0, 0)], [1, 0, 0]);
  });

  for (const [what, random, expected] of [
    ["the longest", 1, [100, 200, 400, 800, 1_600, 2_000, 2_000]],
    ["the shortest", 0, [50, 100, 200, 400, 800, 1_000, 1_000]],
  ] as const) {
    it(`waits twice as long after each failure, up to 2 s: ${what} waits`, async () => {
      const { clock, gate, fail } = open(random);
      const waits: number[] = [];
      for (let failure = 0; failure < expected.length; failure++) {
        fail();
        waits.push(gate.waitMs);
        await clock.advance(gate.waitMs);
      }
      assert.deepEqual(waits, expected);
    });
  }

  it("counts attempts that were under way together as one", async () => {
    const { clock, gate, fail } = open();
    const startedAtMs = clock.monotonicMs();
    await clock.advance(10);
    fail();
    for (let more = 0; more < 5; more++) gate.failed(refused, startedAtMs);
    assert.equal(gate.waitMs, 100);
  });

  it("says why the last attempt failed, how long ago, and when the next one is", async () => {
    const { clock, gate, fail } = open();
    fail();
    await clock.advance(30);
    const refusal = gate.refusal();
    assert.equal(refusal.message, "the database cannot be reached; this was 30 ms ago, and the next try is in 70 ms");
    assert.deepEqual(
      [refusal.code, refusal.status, refusal.retryable, refusal.sqlState, refusal.cause],
      ["ERR_DATABASE_UNAVAILABLE", "unavailable", true, "57P03", refused],
    );
  });

  it("tells whether the server said nothing at all, until it has been heard", async () => {
    const { clock, gate, fail } = open();
    assert.deepEqual([gate.isSilent, gate.state], [false, "closed"]);
    gate.failed(refused, clock.monotonicMs(), true);
    assert.deepEqual([gate.isSilent, gate.state], [true, "open"]);
    await clock.advance(100);
    assert.deepEqual([gate.isSilent, gate.state], [true, "half_open"]);
    assert.match(gate.refusal().message, /; this was 100 ms ago, and a try is under way$/);
    gate.heard();
    assert.deepEqual([gate.isSilent, gate.state], [false, "half_open"]);
    gate.failed(refused, clock.monotonicMs(), true);
    gate.succeeded();
    assert.deepEqual([gate.isSilent, gate.state], [false, "closed"]);
    fail();
    assert.equal(gate.isSilent, false);
  });

  it("is open again after a success, and begins anew", async () => {
    const { clock, gate, fail } = open();
    fail();
    await clock.advance(100);
    fail();
    gate.succeeded();
    assert.deepEqual([gate.admit(7, 3), gate.waitMs], [7, 0]);
    fail();
    assert.equal(gate.waitMs, 100);
  });
});
