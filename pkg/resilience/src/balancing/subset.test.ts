import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { subset } from "./subset.ts";

const fleet = (count: number) => Array.from({ length: count }, (_, index) => ({ id: `instance-${index}` }));
const idsOf = (members: readonly { readonly id: string }[]) => members.map(({ id }) => id);

describe("subset", () => {
  it("gives all when there are no more than asked for", () => {
    assert.equal(subset(fleet(3), { size: 3, client: "a" }).length, 3);
    assert.equal(subset([], { size: 3, client: 0 }).length, 0);
  });

  it("is the same for the same members in any order, and another for another client", () => {
    const members = fleet(100);
    const own = idsOf(subset(members, { size: 10, client: "a" })).toSorted();
    assert.deepEqual(idsOf(subset(members.toReversed(), { size: 10, client: "a" })).toSorted(), own);
    assert.notDeepEqual(idsOf(subset(members, { size: 10, client: "b" })).toSorted(), own);
    assert.equal(new Set(own).size, 10);
  });

  it("by name changes by one member at most when one leaves or joins", () => {
    for (let client = 0; client < 50; client++) {
      const before = new Set(idsOf(subset(fleet(60), { size: 10, client: `c${client}` })));
      const after = idsOf(
        subset(
          fleet(60).filter((_, index) => index !== client),
          { size: 10, client: `c${client}` },
        ),
      );
      assert.ok(after.filter((id) => !before.has(id)).length <= 1);
    }
  });

  it("by name spreads clients as chance does, by position evenly", () => {
    const countsOf = (toClient: (index: number) => string | number): number[] => {
      const counts = new Map<string, number>();
      for (let index = 0; index < 120; index++)
        for (const id of idsOf(subset(fleet(60), { size: 10, client: toClient(index) })))
          counts.set(id, (counts.get(id) ?? 0) + 1);
      return [...counts.values()];
    };
    assert.deepEqual(new Set(countsOf((index) => index)), new Set([20]), "120 clients of 10 on 60 members");
    const byName = countsOf((index) => `client-${index}`);
    assert.equal(byName.length, 60, "nobody is left out");
    assert.ok(Math.min(...byName) > 20 - 5 * Math.sqrt(20) && Math.max(...byName) < 20 + 5 * Math.sqrt(20));
  });

  it("refuses a size or a position out of range by name", () => {
    assert.throws(() => subset(fleet(3), { size: 0, client: "a" }), { code: "ERR_OPTION_RANGE", message: /^size / });
    assert.throws(() => subset(fleet(3), { size: 1, client: -1 }), { code: "ERR_OPTION_RANGE", message: /^client / });
  });
});
