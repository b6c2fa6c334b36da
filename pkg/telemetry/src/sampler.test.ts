import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { randomHex } from "@plinth/kernel";
import { samplerOf } from "./sampler.ts";

const low = "f".repeat(18) + "0".repeat(14);
const high = "0".repeat(18) + "f".repeat(14);
const caller = (sampled: boolean, isTrusted?: boolean) => ({
  traceId: low,
  spanId: "b".repeat(16),
  sampled,
  isTrusted,
});

describe("samplerOf", () => {
  const table = [
    ["trusted", undefined, true, true],
    ["trusted", undefined, false, false],
    ["trusted", true, true, true],
    ["trusted", false, true, false],
    ["always", false, true, true],
    ["always", false, false, false],
    ["never", true, true, false],
  ] as const;
  for (const [trustCallerSampling, isTrusted, sampled, expected] of table) {
    it(`with ${trustCallerSampling}, of a caller that is trusted: ${isTrusted}, and samples: ${sampled}, gives ${expected}`, () => {
      const isSampled = samplerOf({ sampleRatio: 0.5, trustCallerSampling });
      assert.equal(isSampled(caller(sampled, isTrusted), low), expected);
    });
  }

  it("records a trace of an untrusted caller by its id, also one that the caller left out", () => {
    const isSampled = samplerOf({ sampleRatio: 0.5, trustCallerSampling: "trusted" });
    assert.deepEqual(
      [isSampled(caller(false, false), high), isSampled(null, high), isSampled(null, low)],
      [true, true, false],
    );
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
