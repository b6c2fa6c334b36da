import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock } from "@plinth/kernel/testing";
import type { Outcome } from "../outliers/types.ts";
import { createBalancer } from "./balancer.ts";
import type { Balancer, Member } from "./types.ts";

const members = (...ids: string[]): Member[] => ids.map((id) => ({ id }));

/** Everybody comes up, and nothing is left to chance: who is ejected is all that shows. */
const inTurn = { policy: "round-robin", random: () => 0, slowStartMs: 0 } as const;

/** Picks until `id` comes up, letting the others go at once. */
function take(balancer: Balancer<Member>, id: string, outcome: Outcome): boolean {
  for (let tries = 0; tries < 200; tries++) {
    const seat = balancer.pick();
    if (!seat) return false;
    balancer.release(seat, seat.member.id === id ? outcome : "unknown", 0);
    if (seat.member.id === id) return true;
  }
  return false;
}

function picked(balancer: Balancer<Member>, count = 200): Set<string> {
  const ids = new Set<string>();
  for (let i = 0; i < count; i++) {
    const seat = balancer.pick();
    if (!seat) continue;
    ids.add(seat.member.id);
    balancer.release(seat, "unknown", 0);
  }
  return ids;
}

describe("createBalancer", () => {
  it("has nothing to pick when there are no members", () => {
    assert.equal(createBalancer().pick(), undefined);
  });

  it("takes the less loaded of two distinct members, and the first on a tie", () => {
    const numbers = [0, 0, 0.99, 0, 0.5, 0.99];
    const balancer = createBalancer({ random: () => numbers.shift() ?? 0 });
    balancer.replace(members("a", "b", "c"));
    assert.equal(balancer.pick()?.member.id, "a", "a against b, none loaded");
    assert.equal(balancer.pick()?.member.id, "c", "c against a");
    assert.equal(balancer.pick()?.member.id, "b", "b against c");
  });

  it("spreads load that is never released to within one or two of even", () => {
    const balancer = createBalancer();
    balancer.replace(members("a", "b", "c", "d"));
    for (let i = 0; i < 400; i++) balancer.pick();
    for (const { member, inFlight } of balancer.seats) {
      assert.ok(Math.abs(inFlight - 100) <= 5, `${member.id}: ${inFlight}`);
    }
  });

  it("gives another member than the one excepted, as long as there is one", () => {
    const balancer = createBalancer<Member>();
    balancer.replace(members("a", "b"));
    for (let i = 0; i < 50; i++) {
      const first = balancer.pick()!;
      const second = balancer.pick({ avoid: (seat) => seat === first })!;
      assert.notEqual(second.member.id, first.member.id);
      balancer.release(first, "unknown", 0);
      balancer.release(second, "unknown", 0);
    }
    balancer.replace(members("a"));
    const only = balancer.pick()!;
    assert.equal(balancer.pick({ avoid: (seat) => seat === only })?.member.id, "a");
  });

  it("ejects after failures in a row only, and takes back after the time, which doubles", async () => {
    const clock = new FakeClock();
    const balancer = createBalancer<Member>({ clock, ...inTurn, outliers: { localFailures: 3, ejectMs: 1_000 } });
    balancer.replace(members("a", "b"));
    take(balancer, "a", "local_failure");
    take(balancer, "a", "local_failure");
    take(balancer, "a", "success");
    take(balancer, "a", "local_failure");
    take(balancer, "a", "local_failure");
    assert.deepEqual(picked(balancer), new Set(["a", "b"]));
    take(balancer, "a", "local_failure");
    assert.deepEqual(picked(balancer), new Set(["b"]));
    await clock.advance(999);
    assert.deepEqual(picked(balancer), new Set(["b"]));
    await clock.advance(1);
    assert.deepEqual(picked(balancer), new Set(["a", "b"]));
    take(balancer, "a", "local_failure");
    assert.deepEqual(picked(balancer), new Set(["b"]), "on probation one failure is enough");
    await clock.advance(1_999);
    assert.deepEqual(picked(balancer), new Set(["b"]));
    await clock.advance(1);
    take(balancer, "a", "success");
    for (let i = 0; i < 3; i++) take(balancer, "a", "local_failure");
    await clock.advance(3_999);
    assert.deepEqual(picked(balancer), new Set(["b"]), "one success does not make up for two ejections");
    await clock.advance(1);
    take(balancer, "a", "success");
    await clock.advance(30_000);
    for (let i = 0; i < 3; i++) take(balancer, "a", "local_failure");
    await clock.advance(1_000);
    assert.deepEqual(picked(balancer), new Set(["a", "b"]), "each quiet interval forgives one");
  });

  it("never ejects for longer than the cap", async () => {
    const clock = new FakeClock();
    const balancer = createBalancer<Member>({
      clock,
      ...inTurn,
      outliers: { localFailures: 1, ejectMs: 1_000, maxEjectMs: 3_000 },
    });
    balancer.replace(members("a", "b"));
    for (let i = 0; i < 10; i++) {
      take(balancer, "a", "local_failure");
      await clock.advance(3_000);
    }
    assert.deepEqual(picked(balancer), new Set(["a", "b"]));
  });

  it("always leaves one to try, and never ejects more than its share", () => {
    const clock = new FakeClock();
    const one = createBalancer<Member>({ clock, ...inTurn, outliers: { localFailures: 1 } });
    one.replace(members("a"));
    for (let i = 0; i < 10; i++) take(one, "a", "local_failure");
    assert.deepEqual(picked(one), new Set(["a"]));

    const four = createBalancer<Member>({
      clock,
      ...inTurn,
      outliers: { localFailures: 1, maxEjectedRatio: 0.5 },
    });
    four.replace(members("a", "b", "c", "d"));
    for (const id of ["a", "b", "c", "d"]) take(four, id, "local_failure");
    assert.equal(picked(four).size, 2);
  });

  it("falls back on an ejected one when the only open one is excepted", () => {
    const balancer = createBalancer<Member>({ clock: new FakeClock(), ...inTurn, outliers: { localFailures: 1 } });
    balancer.replace(members("a", "b"));
    take(balancer, "a", "local_failure");
    const open = balancer.pick()!;
    assert.equal(open.member.id, "b");
    assert.equal(balancer.pick({ avoid: (seat) => seat === open })?.member.id, "a");
  });

  it("keeps the state of members that stay, and lets those go that leave while in use", () => {
    const clock = new FakeClock();
    const balancer = createBalancer<Member>({ clock, ...inTurn, outliers: { localFailures: 1 } });
    balancer.replace(members("a", "b", "c"));
    take(balancer, "a", "local_failure");
    const held = balancer.pick()!;
    balancer.replace([...members("a", "d"), held.member]);
    assert.equal(balancer.seats.find(({ member }) => member.id === held.member.id)?.inFlight, 1);
    assert.ok(!picked(balancer).has("a"));
    balancer.replace(members("d"));
    balancer.release(held, "local_failure", 0);
    assert.equal(held.inFlight, 0);
    assert.deepEqual(picked(balancer), new Set(["d"]));
  });

  it("readmits when the set has become too small for so many ejected", () => {
    const balancer = createBalancer<Member>({ clock: new FakeClock(), ...inTurn, outliers: { localFailures: 1 } });
    balancer.replace(members("a", "b", "c", "d"));
    take(balancer, "a", "local_failure");
    take(balancer, "b", "local_failure");
    balancer.replace(members("a", "b"));
    assert.equal(picked(balancer).size, 1);
    balancer.replace(members("a"));
    assert.deepEqual(picked(balancer), new Set(["a"]));
  });

  it("refuses options out of range by name", () => {
    assert.throws(() => createBalancer({ outliers: { localFailures: 0 } }), {
      code: "ERR_OPTION_RANGE",
      message: /^localFailures /,
    });
    assert.throws(() => createBalancer({ outliers: { ejectMs: 10, maxEjectMs: 5 } }), {
      code: "ERR_OPTION_RANGE",
      message: /^maxEjectMs /,
    });
    assert.throws(() => createBalancer({ outliers: { maxEjectedRatio: 2 } }), {
      code: "ERR_OPTION_RANGE",
      message: /^maxEjectedRatio /,
    });
  });
});
