import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StallingClock } from "@plinth/kernel/testing";
import * as fc from "fast-check";
import { createRetryBudget } from "./budget.ts";

const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 2_500 }) }),
    fc.record({ kind: fc.constant("request" as const), count: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ kind: fc.constant("retry" as const), count: fc.integer({ min: 1, max: 20 }) }),
  ),
  { maxLength: 120, size: "max" },
);

describe("createRetryBudget, whatever comes", () => {
  it("counts and gives what a list of all that has happened says", () => {
    fc.assert(
      fc.property(steps, fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(5), (steps, ratio, minRetries) => {
        const windowMs = 1_000;
        const clock = new StallingClock();
        const budget = createRetryBudget({ ratio, minRetries, windowMs, clock });
        const requests: number[] = [];
        const retries: number[] = [];
        /** Those whose slice, a tenth of the window, is one of the ten latest. */
        const within = (slicesOf: readonly number[]) =>
          slicesOf.filter((slice) => slice > Math.floor(clock.monotonicMs() / 100) - 10).length;
        for (const step of steps) {
          if (step.kind === "pass") clock.stall(step.ms);
          else
            for (let i = 0; i < step.count; i++) {
              const slice = Math.floor(clock.monotonicMs() / 100);
              if (step.kind === "request") {
                budget.deposit();
                requests.push(slice);
              } else {
                const allowance = (count: number) => Math.max(minRetries, Math.floor(count * ratio));
                const inSlice = (times: readonly number[]) => times.filter((one) => one === slice).length;
                const perSlice = Math.max(inSlice(requests), within(requests) / Math.min(10, 1 + slice));
                const allowed = within(retries) < allowance(within(requests)) && inSlice(retries) < allowance(perSlice);
                assert.equal(budget.withdraw(), allowed);
                if (allowed) retries.push(slice);
              }
            }
          assert.equal(budget.requests, within(requests));
          assert.equal(budget.retries, within(retries));
        }
      }),
      { seed: 81, numRuns: 150 },
    );
  });

  it("lets retries add no more than the ratio over any length of time, beside the floor for each window", () => {
    fc.assert(
      fc.property(steps, (steps) => {
        const clock = new StallingClock();
        const budget = createRetryBudget({ ratio: 0.2, minRetries: 3, windowMs: 1_000, clock });
        let requests = 0;
        let retries = 0;
        for (const step of steps) {
          if (step.kind === "pass") clock.stall(step.ms);
          else if (step.kind === "request")
            for (let i = 0; i < step.count; i++) {
              budget.deposit();
              requests++;
            }
          else for (let i = 0; i < step.count; i++) if (budget.withdraw()) retries++;
        }
        const windows = Math.ceil(clock.monotonicMs() / 900) + 1;
        assert.ok(retries <= requests * 0.2 + 3 * windows, `${retries} retries of ${requests} requests`);
      }),
      { seed: 82, numRuns: 150 },
    );
  });
});
