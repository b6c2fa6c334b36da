import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StallingClock } from "@plinth/kernel/testing";
import { createOutlierDetector } from "./detector.ts";
import type { OutlierDetector, OutlierOptions, Outcome, Suspect } from "./types.ts";

interface Fleet {
  readonly clock: StallingClock;
  readonly detector: OutlierDetector;
  readonly members: readonly Suspect[];
}

function fleetOf(count: number, options: OutlierOptions = {}): Fleet {
  const clock = new StallingClock();
  const detector = createOutlierDetector({ clock, random: () => 0, ...options });
  return { clock, detector, members: Array.from({ length: count }, (_, index) => detector.add(`m${index}`)) };
}

function record({ detector }: Fleet, suspect: Suspect, ...outcomes: readonly Outcome[]): void {
  for (const outcome of outcomes) detector.record(suspect, outcome, 0);
}

const times = (count: number, outcome: Outcome): Outcome[] => Array.from({ length: count }, () => outcome);

describe("createOutlierDetector", () => {
  it("counts no answer and a failing answer apart, each in a row", () => {
    const fleet = fleetOf(4);
    const [a, b, c] = [fleet.members[0]!, fleet.members[1]!, fleet.members[2]!];
    record(fleet, a, "local_failure", "local_failure", "success", "local_failure", "local_failure");
    record(fleet, b, "local_failure", "local_failure", "failure", "local_failure", "local_failure");
    record(fleet, c, ...times(4, "failure"), "unknown", "local_failure");
    assert.equal(fleet.detector.ejected, 0);
    record(fleet, a, "local_failure");
    assert.equal(a.ejectedFor, "local_failures");
    record(fleet, c, "failure");
    assert.equal(c.ejectedFor, "failures");
    assert.equal(b.ejectedFor, undefined);
  });

  it("ejects for twice as long each time, forgives one ejection for each quiet interval, and spreads returns", () => {
    const fleet = fleetOf(3, { ejectMs: 1_000, intervalMs: 10_000, random: () => 0.5 });
    const [a] = [fleet.members[0]!];
    const lasts: number[] = [];
    const ejectAndReturn = (count: number) => {
      record(fleet, a, ...times(count, "local_failure"));
      const ms = a.returnsAtMs - fleet.clock.monotonicMs();
      lasts.push(Math.round(ms));
      fleet.clock.stall(ms);
      assert.equal(fleet.detector.sweep(), true);
      assert.equal(a.ejectedFor, undefined);
    };
    ejectAndReturn(3);
    ejectAndReturn(1);
    ejectAndReturn(1);
    record(fleet, a, "success");
    fleet.clock.stall(20_000);
    ejectAndReturn(3);
    assert.deepEqual(lasts, [1_050, 2_100, 4_200, 2_100]);
  });

  it("compares success rates, of enough members with enough calls, and ejects the one far below", () => {
    const fleet = fleetOf(5, { intervalMs: 10_000 });
    const traffic = (failedOfLast: number) => {
      for (const [index, member] of fleet.members.entries())
        for (let call = 0; call < 100; call++)
          record(fleet, member, index === 4 && call % 100 < failedOfLast && call % 2 === 0 ? "failure" : "success");
      fleet.clock.stall(10_000);
      fleet.detector.sweep();
    };
    traffic(16);
    assert.equal(fleet.detector.ejected, 0, "8 % is far from the others by their deviation, not by the gap");
    traffic(60);
    assert.deepEqual(
      fleet.members.map(({ ejectedFor }) => ejectedFor),
      [undefined, undefined, undefined, undefined, "success_rate"],
    );
  });

  it("compares nothing when all fail alike, or too few have enough calls", () => {
    for (const [count, calls] of [
      [5, 99],
      [4, 200],
    ] as const) {
      const fleet = fleetOf(count, { intervalMs: 10_000, failures: Infinity });
      for (const [index, member] of fleet.members.entries())
        record(fleet, member, ...times(calls, index === 0 ? "failure" : "success"));
      fleet.clock.stall(10_000);
      assert.equal(fleet.detector.sweep(), false);
    }
    const alike = fleetOf(6, { intervalMs: 10_000, failures: Infinity });
    for (const member of alike.members) record(alike, member, ...times(200, "failure"));
    alike.clock.stall(10_000);
    assert.equal(alike.detector.sweep(), false);
  });

  it("panics when too few are left, and stops panicking when enough are back", () => {
    const fleet = fleetOf(5, { maxEjectedRatio: 0.8, panicRatio: 0.5, ejectMs: 1_000 });
    for (const member of fleet.members.slice(0, 2)) record(fleet, member, ...times(3, "local_failure"));
    assert.equal(fleet.detector.isPanicking, false);
    record(fleet, fleet.members[2]!, ...times(3, "local_failure"));
    assert.equal(fleet.detector.isPanicking, true);
    assert.equal(fleet.detector.readmit(fleet.members[2]!), true);
    assert.equal(fleet.detector.readmit(fleet.members[2]!), false);
    assert.equal(fleet.detector.isPanicking, false);
    record(fleet, fleet.members[2]!, ...times(2, "local_failure"));
    assert.equal(fleet.detector.ejected, 2, "who is taken back by a probe is not on probation");
  });

  it("keeps out who is condemned until readmitted, whatever the share, and guesses at fewer others", () => {
    const fleet = fleetOf(6, { maxEjectedRatio: 0.5, panicRatio: 0.5, ejectMs: 1_000 });
    const [a, b, c, d] = [fleet.members[0]!, fleet.members[1]!, fleet.members[2]!, fleet.members[3]!];
    record(fleet, a, ...times(3, "local_failure"));
    assert.equal(fleet.detector.condemn(a), true, "what was guessed is known now");
    assert.equal(fleet.detector.condemn(a), false);
    assert.deepEqual([a.ejectedFor, fleet.detector.ejected], ["health_check", 1]);
    fleet.clock.stall(3_600_000);
    assert.equal(fleet.detector.sweep(), false);
    for (const suspect of [b, c]) fleet.detector.condemn(suspect);
    record(fleet, d, ...times(3, "local_failure"));
    assert.equal(d.ejectedFor, undefined, "half of them are out already");
    assert.equal(fleet.detector.isPanicking, false);
    fleet.detector.condemn(d);
    assert.equal(fleet.detector.isPanicking, true);
    fleet.detector.remove([fleet.members[4]!, fleet.members[5]!]);
    assert.equal(fleet.detector.ejected, 4, "nobody comes back because the others have left");
    fleet.detector.remove([b]);
    assert.equal(fleet.detector.condemn(b), false, "it has left");
    for (const suspect of [a, c, d]) assert.equal(fleet.detector.readmit(suspect), true);
    assert.equal(fleet.detector.ejected, 0);
    record(fleet, a, ...times(2, "local_failure"));
    assert.equal(a.ejectedFor, undefined);
  });

  it("ejects nobody for what failed all at once after our own event loop stood still", () => {
    for (const stalledMs of [2_000, 10_000]) {
      const fleet = fleetOf(10, { failures: 3 });
      for (let i = 0; i < 100; i++) {
        fleet.clock.stall(10);
        fleet.detector.sweep();
      }
      fleet.clock.stall(stalledMs);
      for (let i = 0; i < 20; i++)
        for (const member of fleet.members) fleet.detector.record(member, "local_failure", stalledMs + i);
      assert.equal(fleet.detector.ejected, 0);
      fleet.clock.stall(5);
      record(fleet, fleet.members[0]!, "local_failure");
      record(fleet, fleet.members[0]!, "local_failure");
      assert.equal(fleet.members[0]!.ejectedFor, "local_failures", "what failed afterwards counts");
    }
  });

  it("ejects one that hangs within five timeouts, while the others keep us busy", () => {
    const fleet = fleetOf(3);
    const [hanging, ...others] = [fleet.members[0]!, fleet.members[1]!, fleet.members[2]!];
    let timeouts = 0;
    for (let ms = 0; ms < 10_000 && fleet.detector.ejected === 0; ms += 50) {
      fleet.clock.stall(50);
      for (const other of others) record(fleet, other, "success");
      if (ms >= 2_000) {
        timeouts++;
        fleet.detector.record(hanging, "local_failure", 2_000);
      }
    }
    assert.equal(hanging.ejectedFor, "local_failures");
    assert.ok(timeouts <= 5, `${timeouts}`);
  });

  it("ejects one that hangs also when there is hardly any traffic", () => {
    const fleet = fleetOf(2);
    const [hanging] = [fleet.members[0]!];
    for (let i = 0; i < 3; i++) {
      fleet.detector.sweep();
      fleet.clock.stall(2_000);
      fleet.detector.record(hanging, "local_failure", 2_000);
      fleet.clock.stall(30_000);
    }
    assert.equal(hanging.ejectedFor, "local_failures");
  });

  it("refuses options out of range by name", () => {
    const code = "ERR_OPTION_RANGE";
    assert.throws(() => createOutlierDetector({ failures: 0 }), { code, message: /^failures / });
    assert.throws(() => createOutlierDetector({ panicRatio: 2 }), { code, message: /^panicRatio / });
    assert.throws(() => createOutlierDetector({ rateGap: -1 }), { code, message: /^rateGap / });
  });
});
