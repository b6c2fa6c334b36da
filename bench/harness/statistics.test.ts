import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { median, percentile, spreadOf } from "./statistics.ts";

describe("median", () => {
  it("is the middle of an odd count, whatever the order", () => assert.equal(median([30, 1, 2]), 2));
  it("is the mean of the middle two of an even count", () => assert.equal(median([4, 1, 3, 2]), 2.5));
  it("compares numbers, not text", () => assert.equal(median([9, 10, 100]), 10));
  it("is NaN of nothing", () => assert.ok(Number.isNaN(median([]))));
  it("leaves its input as it was", () => {
    const values = [3, 1, 2];
    median(values);
    assert.deepEqual(values, [3, 1, 2]);
  });
});

describe("percentile", () => {
  const hundred = Float64Array.from({ length: 100 }, (_, index) => index + 1);

  it("takes the nearest rank", () => {
    assert.equal(percentile(hundred, 0.5), 50);
    assert.equal(percentile(hundred, 0.99), 99);
    assert.equal(percentile(hundred, 1), 100);
    assert.equal(percentile(hundred, 0.001), 1);
  });
  it("is the only value when there is one", () => assert.equal(percentile([7], 0.99), 7));
  it("is NaN of nothing", () => assert.ok(Number.isNaN(percentile([], 0.5))));
});

describe("spreadOf", () => {
  it("keeps the rounds in their order beside median, min and max", () => {
    assert.deepEqual(spreadOf([3, 1, 2]), { median: 2, min: 1, max: 3, rounds: [3, 1, 2] });
  });
});
