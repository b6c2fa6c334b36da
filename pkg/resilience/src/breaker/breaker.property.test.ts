import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StallingClock } from "@plinth/kernel/testing";
import * as fc from "fast-check";
import { createBreaker } from "./breaker.ts";

const calls = fc.array(fc.record({ pauseMs: fc.integer({ min: 0, max: 199 }), ok: fc.boolean() }), {
  maxLength: 300,
  size: "max",
});
const options = { minCalls: 5, errorRatio: 0.5, windowMs: 1_000, openMs: 500, maxOpenMs: 4_000, recoveryMs: 1_000 };

describe("createBreaker, whatever comes", () => {
  it("never trips below the least number of calls or the ratio, as a list of all calls says", () => {
    fc.assert(
      fc.property(calls, (calls) => {
        const clock = new StallingClock();
        const circuit = createBreaker({ ...options, clock }).circuit("a", "Get");
        const kept: { slice: number; ok: boolean }[] = [];
        for (const { pauseMs, ok } of calls) {
          clock.stall(pauseMs);
          if (!circuit.allow()) assert.fail("it tripped without a reason");
          circuit.record(ok, 0);
          const slice = Math.floor(clock.monotonicMs() / 100);
          kept.push({ slice, ok });
          const within = kept.filter((call) => call.slice > slice - 10);
          const failed = within.filter((call) => !call.ok).length;
          const trips = !ok && within.length >= 5 && failed >= within.length * 0.5;
          assert.equal(circuit.state, trips ? "open" : "closed");
          if (trips) return;
        }
      }),
      { seed: 83, numRuns: 300 },
    );
  });

  it("always recovers once calls succeed, however it was treated before, within the longest time that it may be open and recover", () => {
    fc.assert(
      fc.property(calls, fc.integer({ min: 1, max: 400 }), (calls, everyMs) => {
        const clock = new StallingClock();
        const circuit = createBreaker({ ...options, clock }).circuit("a", "Get");
        for (const { pauseMs, ok } of calls) {
          clock.stall(pauseMs);
          if (circuit.allow()) circuit.record(ok, 0);
        }
        const untilMs = clock.monotonicMs() + 4_000 + 1_000;
        while (clock.monotonicMs() < untilMs) {
          clock.stall(everyMs);
          if (circuit.allow()) circuit.record(true, 0);
        }
        assert.equal(circuit.state, "closed");
        assert.equal(circuit.allow(), true);
      }),
      { seed: 84, numRuns: 150 },
    );
  });

  it("keeps no more circuits than it may, and never loses one that is open while another is closed", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(60), { maxLength: 200, size: "max" }), (ids) => {
        const breaker = createBreaker({ ...options, maxCircuits: 20, clock: new StallingClock() });
        const tripped = breaker.circuit("tripped", "Get");
        for (let i = 0; i < 5; i++) tripped.record(false, 0);
        for (const id of ids) {
          breaker.circuit(`i${id % 7}`, `op${id}`).record(true, 0);
          assert.ok(breaker.size <= 20);
          assert.equal(breaker.circuit("tripped", "Get"), tripped);
        }
        assert.deepEqual(breaker.tripped(), [tripped]);
      }),
      { seed: 85, numRuns: 60 },
    );
  });
});
