import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakeClock, StallingClock } from "@plinth/kernel/testing";
import type { Outcome } from "../outliers/types.ts";
import { seededRandom } from "../testing/seeded-random.ts";
import { createBalancer } from "./balancer.ts";
import type { Balancer, BalancerOptions, Member } from "./types.ts";

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

/** Serves `count` calls one after the other, each as long as its member takes; tells how many each got. */
function serve(
  balancer: Balancer<Member>,
  clock: StallingClock,
  { count, latencyOf }: { readonly count: number; readonly latencyOf: (id: string) => number },
): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const seat = balancer.pick()!;
    counts[seat.member.id] = (counts[seat.member.id] ?? 0) + 1;
    const ms = latencyOf(seat.member.id);
    clock.stall(ms);
    balancer.release(seat, "success", ms);
  }
  return counts;
}

describe("createBalancer by latency", () => {
  const clock = new StallingClock();
  const steady = { random: seededRandom(5), slowStartMs: 0 };

  it("gives a member that is twenty times slower hardly anything, but tries it again", () => {
    const balancer = createBalancer<Member>({ clock, ...steady });
    balancer.replace(members("a", "b", "slow"));
    const counts = serve(balancer, clock, { count: 3_000, latencyOf: (id) => (id === "slow" ? 200 : 10) });
    assert.ok(counts.slow! >= 1 && counts.slow! < 30, `${counts.slow} of 3000`);
    const later = serve(balancer, clock, { count: 6_000, latencyOf: () => 10 });
    assert.ok(later.slow! >= 5, `${later.slow} of 6000 when it is slow no more`);
  });

  it("gives nothing more to one that hangs, however long ago it last answered", () => {
    const balancer = createBalancer<Member>({ clock, ...steady });
    balancer.replace(members("a", "b", "hangs"));
    serve(balancer, clock, { count: 100, latencyOf: () => 10 });
    let hanging = 0;
    for (let i = 0; i < 1_000; i++) {
      const seat = balancer.pick()!;
      if (seat.member.id === "hangs") {
        hanging++;
        continue;
      }
      clock.stall(50);
      balancer.release(seat, "success", 10);
    }
    assert.ok(hanging <= 3, `${hanging} of 1000`);
  });

  it("does not take one that fails fast for fast", () => {
    const balancer = createBalancer<Member>({ clock, ...steady, outliers: false });
    balancer.replace(members("a", "b", "fails"));
    let failed = 0;
    for (let i = 0; i < 2_000; i++) {
      const seat = balancer.pick()!;
      const isFailing = seat.member.id === "fails";
      if (isFailing) failed++;
      clock.stall(isFailing ? 1 : 20);
      balancer.release(seat, isFailing ? "failure" : "success", isFailing ? 1 : 20);
    }
    assert.ok(failed < 500, `${failed} of 2000`);
  });

  it("counts what was broken off as no faster than it was until then", () => {
    const balancer = createBalancer<Member>({ clock, ...steady });
    balancer.replace(members("a"));
    serve(balancer, clock, { count: 1, latencyOf: () => 10 });
    const release = (elapsedMs: number): number | undefined => {
      const seat = balancer.pick()!;
      clock.stall(10_000);
      balancer.release(seat, "unknown", elapsedMs);
      return seat.latencyMs;
    };
    assert.equal(release(1), 10);
    assert.ok(release(100)! > 60);
  });

  it("takes the time to the head of a long reply, when it is told, and not to its end", () => {
    const balancer = createBalancer<Member>({ clock, ...steady });
    balancer.replace(members("a"));
    const seat = balancer.pick()!;
    balancer.release(seat, "success", 60_000, 12);
    assert.equal(seat.latencyMs, 12);
  });

  it("begins with a newcomer at what the fleet lets wait, and gives it a share that grows", () => {
    const balancer = createBalancer<Member>({ clock, random: seededRandom(6), slowStartMs: 10_000 });
    balancer.replace(members("a", "b", "c"));
    serve(balancer, clock, { count: 300, latencyOf: (id) => ({ a: 5, b: 10, c: 90 })[id] ?? 10 });
    balancer.replace(members("a", "b", "c", "new"));
    const [a, b, c, newcomer] = balancer.seats;
    const middle = [a!.latencyMs!, b!.latencyMs!, c!.latencyMs!].toSorted((x, y) => x - y)[1];
    assert.equal(newcomer!.latencyMs, middle);
    const shares: number[] = [];
    for (let part = 0; part < 5; part++) {
      const counts = serve(balancer, clock, { count: 400, latencyOf: () => 5 });
      shares.push((counts.new ?? 0) / 400);
    }
    assert.ok(shares[0]! > 0.01 && shares[0]! < 0.15, `at first ${shares[0]}`);
    assert.ok(shares[4]! > 0.18, `in the end ${shares[4]}`);
  });

  it("holds a newcomer back that is as good as the others, when it is drawn first as well as second", () => {
    const balancer = createBalancer<Member>({ clock, random: seededRandom(9), slowStartMs: 10_000 });
    balancer.replace(members("a", "b", "c"));
    serve(balancer, clock, { count: 300, latencyOf: () => 1 });
    balancer.replace(members("a", "b", "c", "new"));
    const counts = serve(balancer, clock, { count: 1_000, latencyOf: () => 1 });
    assert.ok(counts.new! > 10 && counts.new! < 80, `${counts.new} of 1000 in the first tenth of its start`);
  });

  it("starts slowly after an ejection too", () => {
    const balancer = createBalancer<Member>({
      clock,
      random: seededRandom(7),
      policy: "round-robin",
      outliers: { localFailures: 1 },
    });
    balancer.replace(members("a", "b"));
    take(balancer, "a", "local_failure");
    clock.stall(6_000);
    const counts = { a: 0, b: 0 };
    for (let i = 0; i < 110; i++) {
      const seat = balancer.pick()!;
      counts[seat.member.id === "a" ? "a" : "b"]++;
      balancer.release(seat, "success", 0);
    }
    assert.ok(counts.a >= 9 && counts.a <= 11, `a tenth of its weight at first: ${counts.a}`);
  });
});

describe("createBalancer by zone", () => {
  const zoned = [
    { id: "near-1", zone: "x" },
    { id: "near-2", zone: "x" },
    { id: "far-1", zone: "y" },
    { id: "far-2", zone: "y" },
  ];
  const create = (options: BalancerOptions = {}) => {
    const clock = new StallingClock();
    const balancer = createBalancer<Member>({ clock, random: seededRandom(8), zone: "x", slowStartMs: 0, ...options });
    balancer.replace(zoned);
    return { balancer, clock };
  };

  it("stays in its own zone without load", () => {
    for (const policy of ["p2c-ewma", "round-robin"] as const) {
      const { balancer } = create({ policy });
      assert.deepEqual(picked(balancer), new Set(["near-1", "near-2"]));
    }
  });

  it("spills over under load, so that the other zone bears about as many times less as was said", () => {
    const { balancer } = create({ spillOver: 2 });
    for (let i = 0; i < 300; i++) balancer.pick();
    const loadOf = (zone: string) =>
      balancer.seats.filter(({ member }) => member.zone === zone).reduce((sum, { inFlight }) => sum + inFlight, 0);
    assert.ok(Math.abs(loadOf("x") - 200) <= 10, `${loadOf("x")} of 300 near`);
  });

  it("uses all zones when most of its own is out, none is there, or it is the only one", () => {
    const { balancer } = create({ ...inTurn, zone: "x", outliers: { localFailures: 1, maxEjectedRatio: 1 } });
    take(balancer, "near-1", "local_failure");
    assert.deepEqual(picked(balancer), new Set(["near-2"]), "half of them will do");
    take(balancer, "near-2", "local_failure");
    assert.deepEqual(picked(balancer), new Set(["far-1", "far-2"]));
    balancer.replace(members("a", "b"));
    assert.deepEqual(picked(balancer), new Set(["a", "b"]));
    balancer.replace(zoned.slice(0, 2));
    assert.equal(picked(balancer).size, 2);
  });

  it("does not lay all the work of a zone on the one of three that is left there", () => {
    const { balancer } = create({ ...inTurn, outliers: { localFailures: 1, maxEjectedRatio: 1, panicRatio: 0 } });
    balancer.replace([...zoned, { id: "near-3", zone: "x" }]);
    take(balancer, "near-1", "local_failure");
    assert.deepEqual(picked(balancer), new Set(["near-2", "near-3"]));
    take(balancer, "near-2", "local_failure");
    assert.deepEqual(picked(balancer), new Set(["near-3", "far-1", "far-2"]));
  });

  it("goes to the other zone when it is to avoid its own", () => {
    const { balancer } = create();
    const seat = balancer.pick({ avoid: ({ member }) => member.zone === "x" });
    assert.equal(seat?.member.zone, "y");
  });
});

describe("createBalancer, when too many are ejected", () => {
  it("uses all of them again", () => {
    const balancer = createBalancer<Member>({
      clock: new StallingClock(),
      ...inTurn,
      outliers: { localFailures: 1, maxEjectedRatio: 1, panicRatio: 0.5 },
    });
    balancer.replace(members("a", "b", "c"));
    take(balancer, "a", "local_failure");
    assert.deepEqual(picked(balancer), new Set(["b", "c"]));
    take(balancer, "b", "local_failure");
    assert.equal(balancer.isPanicking, true);
    assert.deepEqual(picked(balancer), new Set(["a", "b", "c"]));
    balancer.readmit("a");
    assert.equal(balancer.isPanicking, false);
    assert.deepEqual(picked(balancer), new Set(["a", "c"]));
  });

  it("goes by keys to the same members as before, but for those ejected", () => {
    const balancer = createBalancer<Member>({
      policy: "consistent-hash",
      hashBound: Infinity,
      outliers: { localFailures: 1 },
    });
    balancer.replace(members("a", "b", "c", "d"));
    const owners = () =>
      Array.from({ length: 200 }, (_, i) => {
        const seat = balancer.pick({ key: `k${i}` })!;
        balancer.release(seat, "unknown", 0);
        return seat.member.id;
      });
    const before = owners();
    const lost = balancer.pick({ key: "k0" })!;
    balancer.release(lost, "local_failure", 0);
    const after = owners();
    for (const [index, id] of before.entries())
      if (id === lost.member.id) assert.notEqual(after[index], id);
      else assert.equal(after[index], id);
    assert.equal(new Set(after).size, 3, "its keys are shared out");
  });
});
