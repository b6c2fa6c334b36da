import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fingerprintOf, withoutNumbers } from "./fingerprint.ts";

describe("withoutNumbers", () => {
  const same: Readonly<Record<string, string>> = {
    "no note 7": "no note #",
    "7 of 12 in use": "# of # in use",
    "took 1500 ms, more than 1000": "took # ms, more than #",
    "user 3f2504e0-4f89-11d3-9a0c-0305e82c3301 is gone": "user # is gone",
    "token a1B2c3 of user_42": "token # of #",
    "connect ECONNREFUSED 127.0.0.1:5432": "connect ECONNREFUSED #.#.#.#:#",
    "naïve7 Größe": "# Größe",
    "no digits at all": "no digits at all",
    "": "",
    "9": "#",
  };
  for (const [message, text] of Object.entries(same)) {
    it(`makes of "${message}" "${text}"`, () => assert.equal(withoutNumbers(message), text));
  }

  it("looks at the beginning of a long message alone, in time that grows with nothing", () => {
    assert.equal(withoutNumbers("x".repeat(1_000_000)).length, 200);
    assert.equal(withoutNumbers(`${"x".repeat(300)}7`), "x".repeat(200));
  });
});

describe("fingerprintOf", () => {
  it("gives 16 digits, the same for the same text, others for others", () => {
    const texts = Array.from({ length: 10_000 }, (_, index) => `request ERR_X no note ${index}`);
    const prints = new Set(texts.map(fingerprintOf));
    assert.equal(prints.size, texts.length);
    assert.ok([...prints].every((print) => /^[0-9a-f]{16}$/.test(print)));
    assert.equal(fingerprintOf("x"), fingerprintOf("x"));
    assert.match(fingerprintOf(""), /^[0-9a-f]{16}$/);
  });
});
