import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import * as fc from "fast-check";
import { createConcurrencyCap } from "./concurrency-cap.ts";

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ acquire: fc.integer({ min: -5, max: 400 }) }) },
  { weight: 3, arbitrary: fc.constant({ release: true }) },
  { weight: 1, arbitrary: fc.record({ cancel: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ resize: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ passMs: fc.integer({ min: 0, max: 150 }) }) },
);

describe("createConcurrencyCap, whatever comes", () => {
  it("never has more under way or waiting than it may, answers everybody once, and leaves no place unused while somebody waits", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 60, size: "max" }),
        fc.nat(4),
        fc.nat(4),
        async (steps, places, maxQueue) => {
          const clock = new FakeClock();
          const cap = createConcurrencyCap({
            maxInFlight: places + 1,
            maxQueue,
            maxWaitMs: 200,
            lifoAfterMs: 50,
            clock,
          });
          let asked = 0;
          let answered = 0;
          let held = 0;
          const controllers: AbortController[] = [];
          for (const step of steps) {
            const before = cap.inFlight;
            if ("acquire" in step) {
              const controller = new AbortController();
              controllers.push(controller);
              asked++;
              void cap.acquire({ timeoutMs: step.acquire, signal: controller.signal }).then((verdict) => {
                answered++;
                if (verdict === "taken") held++;
              });
            } else if ("release" in step) {
              await Promise.resolve();
              if (held > 0) {
                held--;
                cap.release();
              }
            } else if ("cancel" in step) controllers[step.cancel % Math.max(1, controllers.length)]?.abort();
            else if ("resize" in step) cap.resize({ maxInFlight: step.resize });
            else await clock.advance(step.passMs);
            assert.ok(cap.inFlight <= Math.max(cap.maxInFlight, before));
            assert.ok(cap.waiting <= maxQueue);
            assert.ok(cap.waiting === 0 || cap.inFlight >= cap.maxInFlight);
          }
          await clock.advance(200);
          assert.equal(answered, asked);
          assert.equal(cap.inFlight, held);
          assert.equal(clock.pending, 0);
        },
      ),
      { seed: 98, numRuns: 60 },
    );
  });
});
