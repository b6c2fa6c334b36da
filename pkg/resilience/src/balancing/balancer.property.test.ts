import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { StallingClock } from "@plinth/kernel/testing";
import * as fc from "fast-check";
import { seededRandom } from "../testing/seeded-random.ts";
import { createBalancer } from "./balancer.ts";
import type { Balancer, BalancingPolicy, Member, Seat } from "./types.ts";

const weights = fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 2, maxLength: 12, size: "max" });
const policies: readonly BalancingPolicy[] = ["p2c-ewma", "round-robin", "consistent-hash"];

function toMembers(weights: readonly number[]): Member[] {
  return weights.map((weight, index) => ({ id: `m${index}`, weight }));
}

function pickOne(balancer: Balancer<Member>, key?: string): Seat<Member> {
  const seat = balancer.pick(key === undefined ? undefined : { key });
  assert.ok(seat);
  return seat;
}

/** How many of `count` picks each gets; `release` is given each at once. */
function tally(
  count: number,
  pick: (index: number) => Seat<Member>,
  release: (seat: Seat<Member>) => void = () => {},
): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    const seat = pick(i);
    counts.set(seat.member.id, (counts.get(seat.member.id) ?? 0) + 1);
    release(seat);
  }
  return counts;
}

/** That nobody's share is further from its weight than the draws scatter: five standard deviations. */
function assertFair(counts: ReadonlyMap<string, number>, members: readonly Member[], count: number): void {
  const total = members.reduce((sum, { weight = 1 }) => sum + weight, 0);
  for (const { id, weight = 1 } of members) {
    const share = weight / total;
    const scatter = 5 * Math.sqrt(count * share * (1 - share)) + 5;
    const got = counts.get(id) ?? 0;
    assert.ok(Math.abs(got - count * share) <= scatter, `${id}: ${got}, not ${count * share} ± ${scatter}`);
  }
}

describe("createBalancer, whatever comes", () => {
  it("by keys is fair by weight", () => {
    fc.assert(
      fc.property(weights, (weights) => {
        const members = toMembers(weights);
        const balancer = createBalancer<Member>({ policy: "consistent-hash", hashBound: Infinity, outliers: false });
        balancer.replace(members);
        const counts = tally(3_000, (i) => pickOne(balancer, `user-${i}`));
        assertFair(counts, members, 3_000);
      }),
      { seed: 91, numRuns: 25 },
    );
  });

  it("in turn is exact: after as many picks as the weights add up to, each has had its weight", () => {
    fc.assert(
      fc.property(weights, (weights) => {
        const members = toMembers(weights);
        const balancer = createBalancer<Member>({ policy: "round-robin", outliers: false });
        balancer.replace(members);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const counts = tally(total * 3, () => pickOne(balancer));
        for (const { id, weight = 1 } of members) assert.equal(counts.get(id), weight * 3);
      }),
      { seed: 92, numRuns: 60 },
    );
  });

  it("without load, and where all answer alike, the better of two is fair by weight", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 3, maxLength: 10, size: "max" }), (weights) => {
        const members = toMembers(weights);
        const random = seededRandom(93);
        const balancer = createBalancer<Member>({ clock: new StallingClock(), random, outliers: false });
        balancer.replace(members);
        const counts = tally(
          4_000,
          () => pickOne(balancer),
          (seat) => balancer.release(seat, "success", 10),
        );
        assertFair(counts, members, 4_000);
      }),
      { seed: 93, numRuns: 20 },
    );
  });

  it("under load that is never let go, the better of two bears each its weight", () => {
    fc.assert(
      fc.property(weights, (weights) => {
        const members = toMembers(weights);
        const balancer = createBalancer<Member>({ random: seededRandom(94), outliers: false });
        balancer.replace(members);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (let i = 0; i < total * 50; i++) pickOne(balancer);
        for (const { member, inFlight } of balancer.seats) {
          const due = (member.weight ?? 1) * 50;
          assert.ok(Math.abs(inFlight - due) <= due * 0.15 + 6, `${member.id}: ${inFlight}, not ${due}`);
        }
      }),
      { seed: 94, numRuns: 40 },
    );
  });

  it("moves only the keys of a member that leaves, and those that one that joins takes over", () => {
    fc.assert(
      fc.property(weights, fc.nat(), (weights, which) => {
        const members = toMembers(weights);
        const left = members.filter((_, index) => index !== which % members.length);
        const gone = members[which % members.length];
        const ownerOf = (members: readonly Member[]) => {
          const balancer = createBalancer<Member>({ policy: "consistent-hash", hashBound: Infinity, outliers: false });
          balancer.replace(members);
          return Array.from({ length: 300 }, (_, i) => pickOne(balancer, `key ${i}`).member.id);
        };
        const before = ownerOf(members);
        const after = ownerOf(left);
        for (const [index, id] of before.entries()) if (id !== gone?.id) assert.equal(after[index], id);
      }),
      { seed: 95, numRuns: 30 },
    );
  });

  it("by keys never gives a member more than its bound, even when all ask with one key", () => {
    fc.assert(
      fc.property(
        weights,
        fc.array(
          fc.nat(4).map((one) => one > 0),
          { maxLength: 400, size: "max" },
        ),
        fc.nat(3),
        (weights, steps, keys) => {
          const members = toMembers(weights);
          const balancer = createBalancer<Member>({ policy: "consistent-hash", hashBound: 1.25, outliers: false });
          balancer.replace(members);
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          const held: Seat<Member>[] = [];
          for (const [index, isPick] of steps.entries()) {
            const last = isPick ? undefined : held.pop();
            if (last) balancer.release(last, "success", 1);
            else {
              const seat = pickOne(balancer, `k${index % (keys + 1)}`);
              held.push(seat);
              const bound = Math.max(8, Math.ceil((1.25 * held.length * (seat.member.weight ?? 1)) / total));
              assert.ok(seat.inFlight <= bound, `${seat.inFlight} of at most ${bound}`);
            }
          }
        },
      ),
      { seed: 96, numRuns: 100 },
    );
  });

  for (const policy of policies) {
    it(`keeps count of what is in flight, finds somebody as long as there is anybody, and avoids whom it can: ${policy}`, () => {
      const step = fc.oneof(
        fc.record({ pick: fc.nat(5) }),
        fc.record({ release: fc.nat(30), outcome: fc.constantFrom("success", "failure", "local_failure", "unknown") }),
        fc.record({ members: fc.subarray(["a", "b", "c", "d", "e"]) }),
        fc.record({ pauseMs: fc.nat(9_000) }),
      );
      fc.assert(
        fc.property(fc.array(step, { maxLength: 150, size: "max" }), (steps) => {
          const clock = new StallingClock();
          const outliers = { localFailures: 2, failures: 2, maxEjectedRatio: 1 };
          const random = seededRandom(97);
          const balancer = createBalancer<Member>({ policy, clock, outliers, random, zone: "x" });
          let members: readonly string[] = [];
          const held: Seat<Member>[] = [];
          for (const step of steps) {
            if ("members" in step) {
              members = step.members;
              balancer.replace(members.map((id, index) => ({ id, weight: 1 + index, zone: id < "c" ? "x" : "y" })));
            } else if ("pauseMs" in step) clock.stall(step.pauseMs);
            else if ("pick" in step) {
              const tried = new Set(held.slice(0, step.pick).map(({ member }) => member.id));
              const seat = balancer.pick({ key: `k${step.pick}`, avoid: ({ member }) => tried.has(member.id) });
              assert.equal(seat === undefined, members.length === 0);
              if (!seat) continue;
              if (members.some((id) => !tried.has(id))) assert.ok(!tried.has(seat.member.id));
              assert.ok(members.includes(seat.member.id));
              held.push(seat);
            } else {
              const [seat] = held.splice(step.release % Math.max(1, held.length), 1);
              if (seat) balancer.release(seat, step.outcome, 20);
            }
            for (const seat of balancer.seats) assert.equal(seat.inFlight, held.filter((one) => one === seat).length);
          }
        }),
        { seed: 97, numRuns: 100 },
      );
    });
  }
});
