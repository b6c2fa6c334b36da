import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StallingClock } from "@plinth/kernel/testing";
import * as fc from "fast-check";
import { createOutlierDetector } from "./detector.ts";
import type { Outcome, Suspect } from "./types.ts";

const outcome = fc.constantFrom<Outcome>("success", "failure", "local_failure", "unknown");
const events = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ at: fc.nat(11), outcome, pauseMs: fc.integer({ min: 0, max: 150 }) }) },
    { weight: 1, arbitrary: fc.record({ leaves: fc.nat(11) }) },
    { weight: 1, arbitrary: fc.record({ joins: fc.constant(true) }) },
    { weight: 1, arbitrary: fc.record({ pauseMs: fc.integer({ min: 0, max: 20_000 }) }) },
  ),
  { maxLength: 200, size: "max" },
);

describe("createOutlierDetector, whatever comes", () => {
  it("never ejects more than its share, at least one and never all, and takes everybody back", () => {
    fc.assert(
      fc.property(events, fc.double({ min: 0, max: 1, noNaN: true }), (events, maxEjectedRatio) => {
        const clock = new StallingClock();
        const limits = { localFailures: 2, failures: 3, ejectMs: 1_000, maxEjectMs: 8_000, maxEjectedRatio };
        const detector = createOutlierDetector({ clock, ...limits, random: () => 0.5 });
        let members: Suspect[] = ["a", "b", "c"].map((id) => detector.add(id));
        for (const event of events) {
          if ("joins" in event) members.push(detector.add(`m${members.length}`));
          else if ("leaves" in event) {
            const gone = members[event.leaves % Math.max(1, members.length)];
            if (gone) detector.remove([gone]);
            members = members.filter((member) => member !== gone);
          } else {
            clock.stall(event.pauseMs);
            detector.sweep();
            const member = "at" in event ? members[event.at % Math.max(1, members.length)] : undefined;
            if (member && "outcome" in event) detector.record(member, event.outcome, 0);
          }
          const most = Math.min(members.length - 1, Math.max(1, Math.floor(members.length * maxEjectedRatio)));
          const ejected = members.filter(({ ejectedFor }) => ejectedFor !== undefined).length;
          assert.equal(detector.ejected, ejected);
          assert.ok(ejected <= Math.max(0, most), `${ejected} of ${members.length}`);
        }
        clock.stall(8_800);
        detector.sweep();
        assert.equal(detector.ejected, 0);
      }),
      { seed: 86, numRuns: 300 },
    );
  });
});
