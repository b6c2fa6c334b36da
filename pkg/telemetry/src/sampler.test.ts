import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { randomHex } from "@plinth/kernel";
import { samplerOf } from "./sampler.ts";

const low = "f".repeat(18) + "0".repeat(14);
const high = "0".repeat(18) + "f".repeat(14);
const caller = (sampled: boolean) => ({ traceId: low, spanId: "b".repeat(16), sampled });

describe("samplerOf", () => {
  const table = [
    ["trusted", true, low, true],
    ["trusted", false, high, false],
    ["never", true, low, false],
    ["never", false, high, true],
  ] as const;
  for (const [trustCallerSampling, sampled, traceId, expected] of table) {
    it(`with ${trustCallerSampling}, of a caller that samples: ${sampled}, by the id ${traceId}, gives ${expected}`, () => {
      const isSampled = samplerOf({ sampleRatio: 0.5, trustCallerSampling });
      assert.equal(isSampled(caller(sampled), traceId), expected);
    });
  }

  it("decides on a trace that begins here by its id", () => {
    const isSampled = samplerOf({ sampleRatio: 0.5, trustCallerSampling: "trusted" });
    assert.deepEqual([isSampled(null, high), isSampled(null, low)], [true, false]);
  });

  it("records all at 1 and none at 0, and about as many as it is told", () => {
    const share = (sampleRatio: number): number => {
      const isSampled = samplerOf({ sampleRatio, trustCallerSampling: "trusted" });
      return Array.from({ length: 10_000 }, () => isSampled(null, randomHex(16))).filter(Boolean).length;
    };
    assert.deepEqual([share(0), share(1)], [0, 10_000]);
    assert.ok(Math.abs(share(0.1) - 1_000) < 200);
  });
});
