// Instances of a service are slow, or fail, while load flows: what clients add to that load, and how they come back.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { faultTest } from "../support/fault-row.ts";
import {
  callIdentity,
  type Calls,
  codesOf,
  type Entry,
  type IdentityFleet,
  startCalls,
  startIdentityFleet,
  wires,
  wrongWrites,
} from "../support/identity-fleet.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;
const timeoutMs = 10_000;
let fleet: IdentityFleet;

before(async () => {
  fleet = await startIdentityFleet(4);
});
afterEach(() => fleet.heal());
after(() => fleet[Symbol.asyncDispose]());

const attemptsIn = (entries: readonly Entry[]): readonly Entry[] => entries.filter(({ kind }) => kind !== "left");
const at = (sorted: readonly number[], share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;

/** Waits until calls succeed as if nothing had been. */
async function untilWell(calls: Calls): Promise<void> {
  await until(
    async () => {
      const failed = calls.failedReads();
      await calls.untilMore(200);
      return calls.failedReads() === failed;
    },
    "200 calls in a row succeed",
    limitMs,
  );
}

for (const wire of wires) {
  describe(`instances in trouble, over ${wire}`, () => {
    faultTest(
      {
        fault: `6 one of four 20 times slower, ${wire}`,
        done: "40 ms and 800 ms, under 100 calls/s",
        expected: "0 failed; it has at most 1 % of the calls, so that p99 is that of the others",
      },
      async (witness) => {
        const [slow = assert.fail()] = fleet.instances;
        await Promise.all(fleet.instances.map((instance) => instance.mood({ delayMs: 40 })));
        await using calling = await callIdentity(wire, fleet.addresses(wire), { timeoutMs });
        const healthy = startCalls(calling.identity, { perSecond: 100 });
        await healthy.untilMore(500);
        const before = await healthy.stop();
        await slow.mood({ delayMs: 800 });
        // it is known after some calls
        const learning = startCalls(calling.identity, { perSecond: 100 });
        await learning.untilMore(200);
        await learning.stop();
        const since = fleet.book().length;
        const calls = startCalls(calling.identity, { perSecond: 100 });
        await calls.untilMore(1_500);
        const report = await calls.stop();
        const entries = attemptsIn(fleet.book().slice(since));
        const share = entries.filter(({ instance }) => instance === slow.name).length / entries.length;
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        witness.saw(
          `${(share * 100).toFixed(2)} % of the calls; p99 ${at(before.tookMs, 0.99).toFixed()} ms before, ${at(report.tookMs, 0.99).toFixed()} ms`,
        );
        assert.equal(codesOf(report.failedReads), "none");
        assert.equal(codesOf(report.failedWrites), "none");
        assert.ok(share <= 0.01, `${share} of the calls`);
      },
    );

    for (const breaker of [true, false]) {
      faultTest(
        {
          fault: `7 all fail, breaker ${breaker ? "on" : "off"}, ${wire}`,
          done: "four of four answer unavailable for 5 s under 200 calls/s, and are well again",
          expected: breaker
            ? "at most 20 % and 3 each 10 s more attempts than calls, in truth far less; at most half left out; well again"
            : "at most 20 % and 3 each 10 s more attempts than calls; at most half left out, none shut; well again",
        },
        async (witness) => {
          await using calling = await callIdentity(wire, fleet.addresses(wire), {
            timeoutMs,
            ...(breaker ? {} : { breaker: false }),
          });
          const calls = startCalls(calling.identity, { perSecond: 200 });
          await calls.untilMore(200);
          await Promise.all(fleet.instances.map((instance) => instance.mood({ failing: 1 })));
          const since = fleet.book().length;
          let mostOut = 0;
          const fromMs = performance.now();
          while (performance.now() < fromMs + 5_000) {
            await delay(50);
            const out = calling.channel().instances.filter(({ state }) => state === "ejected").length;
            mostOut = Math.max(mostOut, out);
          }
          const failing = attemptsIn(fleet.book().slice(since));
          const wasFailing = calls.failedReads();
          await Promise.all(fleet.instances.map((instance) => instance.mood({})));
          await untilWell(calls);
          const report = await calls.stop();
          witness.count({ sent: report.reads.length, failed: report.failedReads.size });
          const ids = new Set(failing.map(({ id }) => id));
          const extra = failing.length - ids.size;
          witness.saw(
            `${ids.size} calls reached them in ${failing.length} attempts; ${wasFailing} failed while they failed; ${mostOut} left out at most`,
          );
          assert.ok(wasFailing > 0);
          // calls of before count for what those in trouble may use
          assert.ok(extra <= 0.2 * (ids.size + 200) + 2 * 3, `${extra} more attempts than ${ids.size} calls`);
          if (!breaker) assert.ok(ids.size > 500, `only ${ids.size} calls reached them`);
          else assert.ok(ids.size < 500, `${ids.size} calls reached them though all are shut`);
          assert.ok(mostOut <= 2, `${mostOut} were left out`);
          assert.deepEqual(wrongWrites(report, fleet.book()), []);
        },
      );
    }

    faultTest(
      {
        fault: `7 all but one fail, panic, ${wire}`,
        done: "three of four refuse half of the calls for 4 s, all of those may be left out at once",
        expected: "so many are left out that all are called: more than the one that is well",
      },
      async (witness) => {
        const [well = assert.fail(), ...others] = fleet.instances;
        await using calling = await callIdentity(wire, fleet.addresses(wire), {
          timeoutMs,
          breaker: false,
          balancing: { outliers: { maxEjectedRatio: 1, failures: 2 } },
        });
        const calls = startCalls(calling.identity, { perSecond: 200 });
        await calls.untilMore(100);
        await Promise.all(others.map((instance) => instance.mood({ failing: 0.9 })));
        await until(() => calling.channel().isPanicking, "it panics", limitMs);
        const since = fleet.book().length;
        await calls.untilMore(200);
        const called = new Set(
          fleet
            .book()
            .slice(since)
            .map(({ instance }) => instance),
        );
        await Promise.all(others.map((instance) => instance.mood({})));
        await untilWell(calls);
        const report = await calls.stop();
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        witness.saw(`${called.size} of 4 called while it panicked; ${report.failedReads.size} calls failed`);
        assert.ok(called.has(well.name) && called.size > 1, [...called].join());
        assert.deepEqual(wrongWrites(report, fleet.book()), []);
      },
    );

    faultTest(
      {
        fault: `8 brown-out, ${wire}`,
        done: "each of four refuses 30 % of the calls at random for 6 s, under 200 calls/s",
        expected: "at most 20 % and 3 each 10 s more attempts than calls; no other call done twice",
      },
      async (witness) => {
        await Promise.all(fleet.instances.map((instance) => instance.mood({ failing: 0.3 })));
        await using calling = await callIdentity(wire, fleet.addresses(wire), { timeoutMs });
        const since = fleet.book().length;
        const calls = startCalls(calling.identity, { perSecond: 200 });
        await calls.untilMore(1_200);
        const report = await calls.stop();
        const attempts = attemptsIn(fleet.book().slice(since)).length;
        const sent = report.reads.length + report.writes.length;
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        witness.saw(`${attempts} attempts of ${sent} calls`);
        assert.ok(attempts - sent <= 0.2 * sent + 3, `${attempts} attempts of ${sent} calls`);
        assert.ok(attempts > sent, "nothing was tried again");
        assert.ok(report.failedReads.size < 0.2 * report.reads.length, codesOf(report.failedReads));
        assert.deepEqual(wrongWrites(report, fleet.book()), []);
      },
    );
  });
}

describe("instances that say when to come back", () => {
  faultTest(
    {
      fault: "8 brown-out with Retry-After, http",
      done: "30 % of the calls are refused with Retry-After: 1, under 200 calls/s for 5 s",
      expected: "no attempt comes sooner than asked for, at most 20 % and 3 each 10 s more, and not all at one moment",
    },
    async (witness) => {
      const [one = assert.fail()] = fleet.instances;
      await one.mood({ failing: 0.3, retryAfterSeconds: 1 });
      await using calling = await callIdentity("http", [], {
        timeoutMs,
        find: { url: `http://${one.address.http}/polite` },
      });
      const since = fleet.book().length;
      const calls = startCalls(calling.identity, { perSecond: 200 });
      await calls.untilMore(1_000);
      const report = await calls.stop();
      const attempts = attemptsIn(fleet.book().slice(since));
      const sent = report.reads.length + report.writes.length;
      const byId = Map.groupBy(attempts, ({ id }) => id);
      const waits = [...byId.values()].flatMap((all) =>
        all.slice(1).map(({ atMs }, n) => atMs - (all[n]?.atMs ?? Infinity)),
      );
      witness.count({ sent: report.reads.length, failed: report.failedReads.size });
      // by the clock of the server alone: timers of Node may be a millisecond early
      assert.ok(waits.length > 20, `${waits.length} were tried again`);
      assert.ok(Math.min(...waits) >= 998, `after ${Math.min(...waits)} ms`);
      assert.ok(attempts.length - sent <= 0.2 * sent + 6, `${attempts.length} attempts of ${sent} calls`);
      const spread = new Set(waits.map((ms) => Math.floor(ms / 10))).size;
      witness.saw(
        `${attempts.length} attempts of ${sent} calls; again after ${Math.min(...waits)} to ${Math.max(...waits)} ms`,
      );
      assert.ok(spread >= 8, `all came back within ${spread} times 10 ms`);
      assert.deepEqual(wrongWrites(report, fleet.book()), []);
    },
  );
});
