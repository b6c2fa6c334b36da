import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { backoffDefaults, backoffDelayMs } from "./backoff.ts";

const almostOne = (): number => 0.999_999;

describe("backoffDelayMs", () => {
  it("doubles the ceiling with each attempt and stops at the cap", () => {
    const delays = [1, 2, 3, 4, 5].map((attempt) => backoffDelayMs(attempt, { maxDelayMs: 1_000, random: almostOne }));
    assert.deepEqual(delays, [99, 199, 399, 799, 999]);
  });

  it("jitters over the whole range down to 0", () => {
    assert.equal(backoffDelayMs(3, { random: () => 0 }), 0);
    assert.equal(backoffDelayMs(3, { random: () => 0.5 }), 200);
  });

  it("stays a finite whole number after any number of failures, also without a cap", () => {
    for (const random of [() => 0, almostOne]) {
      const delayMs = backoffDelayMs(5_000, { maxDelayMs: Infinity, random });
      assert.ok(Number.isSafeInteger(delayMs), `${delayMs}`);
    }
  });

  it("takes undefined for absent", () => {
    const delayMs = backoffDelayMs(1, { baseDelayMs: undefined, random: almostOne } as object);
    assert.equal(delayMs, backoffDefaults.baseDelayMs - 1);
  });

  for (const attempt of [0, -1, 1.5, NaN]) {
    it(`rejects attempt ${attempt} and names the argument`, () => {
      assert.throws(() => backoffDelayMs(attempt), { code: "ERR_OPTION_RANGE", message: /^attempt / });
    });
  }
  for (const [name, options] of [
    ["baseDelayMs", { baseDelayMs: 0 }],
    ["maxDelayMs", { maxDelayMs: -1 }],
    ["maxDelayMs", { maxDelayMs: NaN }],
  ] as const) {
    it(`rejects ${JSON.stringify(options)} and names ${name}`, () => {
      assert.throws(() => backoffDelayMs(1, options), { code: "ERR_OPTION_RANGE", message: new RegExp(`^${name} `) });
    });
  }
});
