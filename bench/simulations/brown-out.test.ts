import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { brownOutPlan, retryHabits, simulateBrownOut, toBrownOutTable } from "./brown-out.ts";

const outcomes = simulateBrownOut();
const outcomeOf = ({ name }: { readonly name: string }) => outcomes.find((outcome) => outcome.name === name)!;

describe("a brown-out of a call tree of three layers", () => {
  it("gets at most a fifth more load by retries with budgets, at every layer and in the worst second", () => {
    const plain = outcomeOf(retryHabits.none);
    assert.deepEqual(plain.load, [1, 1, 1]);
    const own = outcomeOf(retryHabits.plinth);
    for (const load of own.load) assert.ok(load <= 1.2, `${load}`);
    assert.ok(own.load[2]! > 1.02, "there are retries");
    // arrivals come by chance: a second of many requests has as many more calls
    assert.ok(own.worstLoad <= plain.worstLoad * 1.2 * 1.1, `${own.worstLoad} by ${plain.worstLoad}`);
  });

  it("gets several times its load without, and stays down for it", () => {
    const bare = outcomeOf(retryHabits.bare);
    assert.ok(bare.load[2]! > 2, `${bare.load[2]}`);
    assert.ok(bare.answered.during < outcomeOf(retryHabits.plinth).answered.during);
  });

  it("is retried at one layer only when what was given up is final: each layer that retries as well multiplies", () => {
    assert.deepEqual(outcomeOf(retryHabits.plinth).load.slice(0, 2), [1, 1]);
    assert.ok(outcomeOf(retryHabits.everyLayer).load[2]! > outcomeOf(retryHabits.plinth).load[2]! * 1.05);
  });

  it("is over as soon as it is over", () => {
    const own = outcomeOf(retryHabits.plinth);
    assert.ok(own.answered.before > 0.999 && own.answered.after > 0.99, JSON.stringify(own.answered));
  });

  it("is the same each time, and prints a line for each habit", () => {
    assert.deepEqual(
      simulateBrownOut({ ...brownOutPlan, seconds: 5 }),
      simulateBrownOut({ ...brownOutPlan, seconds: 5 }),
    );
    assert.equal(toBrownOutTable(outcomes).split("\n").length, 3 + outcomes.length + 1);
  });
});
