import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StallingClock } from "@plinth/kernel/testing";
import { type BreakerOptions, type Circuit, createBreaker } from "./breaker.ts";

const limits = { minCalls: 10, windowMs: 10_000, openMs: 1_000, maxOpenMs: 3_000, recoveryMs: 1_000 };

function circuitOf(options: BreakerOptions = {}): { readonly clock: StallingClock; readonly circuit: Circuit } {
  const clock = new StallingClock();
  return { clock, circuit: createBreaker({ ...limits, clock, ...options }).circuit("a", "Get") };
}

function fail(circuit: Circuit, count: number): void {
  for (let i = 0; i < count; i++) circuit.record(false, 0);
}

describe("createBreaker", () => {
  it("opens when enough of enough calls have failed, and not before", () => {
    const { circuit } = circuitOf();
    for (let i = 0; i < 5; i++) circuit.record(true, 0);
    fail(circuit, 4);
    assert.equal(circuit.state, "closed");
    fail(circuit, 1);
    assert.equal(circuit.state, "open");
    assert.equal(circuit.allow(), false);
    assert.equal(circuit.retryAfterMs, 1_000);
  });

  it("lets a share through that grows evenly, from one call on, until all go", () => {
    const { clock, circuit } = circuitOf();
    fail(circuit, 10);
    clock.stall(999);
    assert.equal(circuit.allow(), false);
    clock.stall(1);
    assert.equal(circuit.state, "recovering");
    assert.equal(circuit.allow(), true, "one at once");
    const quarters = [0, 0, 0, 0];
    for (let i = 0; i < 1_000; i++) {
      if (circuit.allow()) quarters[Math.floor(i / 250)]! += 1;
      clock.stall(1);
    }
    assert.equal(circuit.state, "closed");
    for (const [index, due] of [31, 94, 156, 219].entries())
      assert.ok(Math.abs(quarters[index]! - due) <= 4, `quarter ${index}: ${quarters[index]} of about ${due}`);
  });

  it("opens for twice as long when recovery fails, up to the cap, and as long as at first after a window of calm", () => {
    const { clock, circuit } = circuitOf();
    fail(circuit, 10);
    for (const lastedMs of [1_000, 2_000, 3_000, 3_000]) {
      assert.equal(circuit.retryAfterMs, lastedMs);
      clock.stall(lastedMs);
      fail(circuit, 2);
      assert.equal(circuit.state, "recovering", "few are not enough");
      fail(circuit, 1);
      assert.equal(circuit.state, "open");
    }
    clock.stall(3_000 + 1_000 + 9_999);
    assert.equal(circuit.state, "closed");
    fail(circuit, 10);
    assert.equal(circuit.retryAfterMs, 3_000, "no window of calm between");
    clock.stall(3_000 + 1_000);
    assert.equal(circuit.state, "closed");
    clock.stall(10_000);
    fail(circuit, 10);
    assert.equal(circuit.retryAfterMs, 1_000);
  });

  it("takes no word of calls that it let through before it opened", () => {
    const { clock, circuit } = circuitOf();
    fail(circuit, 10);
    fail(circuit, 10);
    assert.equal(circuit.retryAfterMs, 1_000);
    for (let i = 0; i < 11; i++) {
      clock.stall(100); // no standstill
      circuit.allow();
    }
    for (let i = 0; i < 10; i++) circuit.record(false, 1_050);
    assert.equal(circuit.state, "recovering");
  });

  it("counts what a standstill of our own makes fail only once", () => {
    const { clock, circuit } = circuitOf();
    for (let i = 0; i < 50; i++) circuit.allow();
    clock.stall(2_000);
    for (let i = 0; i < 50; i++) circuit.record(false, 2_000);
    assert.equal(circuit.state, "closed");
    assert.equal(circuit.failures, 1);
    fail(circuit, 9);
    assert.equal(circuit.state, "open", "what begins later counts");
  });

  it("keeps instances and operations apart, and forgets who has left", () => {
    const breaker = createBreaker({ ...limits, clock: new StallingClock() });
    fail(breaker.circuit("a", "Get"), 10);
    assert.equal(breaker.circuit("a", "Get").allow(), false);
    assert.equal(breaker.circuit("a", "List").allow(), true);
    assert.equal(breaker.circuit("b", "Get").allow(), true);
    assert.deepEqual(
      breaker.tripped().map(({ instance, operation }) => `${instance}/${operation}`),
      ["a/Get"],
    );
    breaker.forget("a");
    breaker.forget("never seen");
    assert.equal(breaker.size, 1);
    assert.equal(breaker.circuit("a", "Get").allow(), true);
  });

  it("refuses options out of range by name", () => {
    assert.throws(() => createBreaker({ errorRatio: 0 }), { code: "ERR_OPTION_RANGE", message: /^errorRatio / });
    assert.throws(() => createBreaker({ openMs: 10, maxOpenMs: 5 }), {
      code: "ERR_OPTION_RANGE",
      message: /^maxOpenMs /,
    });
    assert.throws(() => createBreaker({ maxCircuits: 0 }), { code: "ERR_OPTION_RANGE", message: /^maxCircuits / });
  });
});
