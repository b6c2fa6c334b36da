import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "./app-error.ts";
import { OptionError, requireNumber, requireWhole, withDefaults } from "./option-error.ts";

describe("requireWhole", () => {
  for (const value of [1, 5, 10]) {
    it(`takes ${value} in 1 to 10`, () => assert.doesNotThrow(() => requireWhole("count", value, { min: 1, max: 10 })));
  }
  for (const value of [0, 11, 1.5, NaN, Infinity, -1]) {
    it(`refuses ${value} in 1 to 10 and names the option`, () => {
      assert.throws(() => requireWhole("count", value, { min: 1, max: 10 }), {
        name: "OptionError",
        code: "ERR_OPTION_RANGE",
        status: "invalid_argument",
        message: `count must be a whole number from 1 to 10, not ${value}`,
      });
    });
  }
  it("takes any safe whole number when no range is given", () => {
    requireWhole("count", Number.MIN_SAFE_INTEGER);
    assert.throws(() => requireWhole("count", 2 ** 53), { code: "ERR_OPTION_RANGE" });
  });
});

describe("requireNumber", () => {
  it("takes the edges of its range, and infinity where no edge is given", () => {
    requireNumber("delayMs", 0, { min: 0 });
    requireNumber("delayMs", 0.5, { min: 0, max: 0.5 });
    requireNumber("delayMs", Infinity, { min: 0 });
    requireNumber("delayMs", -Infinity);
  });
  for (const value of [-0.1, 1.1, NaN]) {
    it(`refuses ${value} in 0 to 1 and names the option`, () => {
      assert.throws(() => requireNumber("ratio", value, { min: 0, max: 1 }), {
        code: "ERR_OPTION_RANGE",
        message: `ratio must be a number from 0 to 1, not ${value}`,
      });
    });
  }
  it("refuses NaN also without a range", () => {
    assert.throws(() => requireNumber("ratio", NaN), { code: "ERR_OPTION_RANGE" });
  });
});

describe("withDefaults", () => {
  it("takes what is given, and the default for what is absent or undefined", () => {
    assert.deepEqual(withDefaults({ a: 1, b: 2, c: 3 }, { a: 0, b: undefined }), { a: 0, b: 2, c: 3 });
  });

  it("leaves the defaults as they were", () => {
    const defaults: { readonly a: number } = Object.freeze({ a: 1 });
    assert.notEqual(withDefaults(defaults, { a: 2 }), defaults);
    assert.deepEqual(defaults, { a: 1 });
  });

  it("takes nothing that has no default, and nothing from a hostile key", () => {
    const given: object = JSON.parse('{"a":2,"x":1,"__proto__":{"admin":true}}');
    const result = withDefaults({ a: 1 }, given);
    assert.deepEqual(Object.keys(result), ["a"]);
    assert.equal(Reflect.get(result, "admin"), undefined);
  });
});

describe("OptionError", () => {
  it("is an AppError", () =>
    assert.ok(AppError.is(new OptionError("ERR_OPTION_TYPE", "invalid_argument", "x must be y"))));
});
