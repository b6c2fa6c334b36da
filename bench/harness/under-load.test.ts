import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toReading } from "./under-load.ts";

describe("toReading", () => {
  it("divides CPU time by requests, and by the length of the window", () => {
    const report = { requests: 100_000, seconds: 4, cpuSeconds: 2, p50Ms: 1, p99Ms: 2, errors: 0, reasons: [] };
    assert.deepEqual(toReading(report), {
      cpuMicrosPerRequest: 20,
      requestsPerSecond: 25_000,
      p50Ms: 1,
      p99Ms: 2,
      busyRatio: 0.5,
    });
  });
});
