import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { didYouMean, nearest } from "./nearest.ts";

describe("nearest", () => {
  const cases: readonly (readonly [string, readonly string[], string | undefined])[] = [
    ["prot", ["host", "port", "path"], "port"],
    ["PORT", ["host", "port"], "port"],
    ["databse", ["database", "data"], "database"],
    ["announceDelay", ["announceDelayMs", "drainMs"], "announceDelayMs"],
    ["xyz", ["host", "port"], undefined],
    ["x", ["ab", "cd"], undefined],
    ["db", ["bd", "log"], undefined],
    ["", ["a", "ab"], undefined],
    ["port", [], undefined],
  ];
  for (const [word, candidates, expected] of cases) {
    it(`finds ${expected ?? "nothing"} for "${word}" among ${candidates.join(", ") || "nothing"}`, () => {
      assert.equal(nearest(word, candidates), expected);
    });
  }

  it("takes the closest, and of two equally close ones the first", () => {
    assert.equal(nearest("cart", ["carts", "card", "cast"]), "carts");
    assert.equal(nearest("notes", ["note", "notes"]), "notes");
  });
});

describe("didYouMean", () => {
  it("asks, or is empty", () => {
    assert.equal(didYouMean("prot", ["port"]), '; did you mean "port"?');
    assert.equal(didYouMean("zzz", ["port"]), "");
    assert.equal(didYouMean("prot", ["port"], "http."), '; did you mean "http.port"?');
    assert.equal(didYouMean("zzz", ["port"], "http."), "");
  });
});
