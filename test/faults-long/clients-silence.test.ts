// Instances of a service say nothing: they are stopped, their idle connections end just when they are used again, the way to them swallows
// what is sent.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { userId } from "@plinth/services";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { faultTest } from "../support/fault-row.ts";
import {
  type Calling,
  callIdentity,
  codesOf,
  type IdentityFleet,
  type Instance,
  startCalls,
  startIdentityFleet,
  type Wire,
  wires,
  wrongWrites,
} from "../support/identity-fleet.ts";
import { until } from "../support/until.ts";

const limitMs = 40_000;
/** Longer than an attempt takes on a machine that is busy, and much less than the call's time. */
const attemptTimeoutMs = 1_000;
const timeoutMs = 10_000;
/** On a machine that is busy many calls may be under way there when it falls silent. */
const budget = { minRetries: 100 };
let fleet: IdentityFleet;

before(async () => {
  fleet = await startIdentityFleet();
});
afterEach(() => fleet.heal());

/** Long enough that an instance which has been slow once is worth a try soon. */
const slowly = (): Promise<unknown> => Promise.all(fleet.instances.map((instance) => instance.mood({ delayMs: 50 })));
after(() => fleet[Symbol.asyncDispose]());

const portOf = ({ address }: Instance, wire: Wire): number => Number(address[wire].split(":").at(-1));

/** Calls that reached an instance and were sent on by nobody. */
const reached = (instance: Instance, since = 0): number =>
  fleet
    .book()
    .slice(since)
    .filter((entry) => entry.instance === instance.name && entry.kind !== "left").length;

for (const wire of wires) {
  describe(`an instance that says nothing, over ${wire}`, () => {
    faultTest(
      {
        fault: `3 SIGSTOP, then SIGCONT, ${wire}`,
        done: `one of three under 100 calls/s, for 6 s; an attempt has ${attemptTimeoutMs} ms`,
        expected:
          "0 idempotent calls failed with a floor of 100 for retries, at most 5 % waited for it; called as before after SIGCONT; no other call done twice",
      },
      async (witness) => {
        const [victim = assert.fail()] = fleet.instances;
        await using calling = await callIdentity(wire, fleet.addresses(wire), { timeoutMs, attemptTimeoutMs, budget });
        await slowly();
        const calls = startCalls(calling.identity);
        await calls.untilMore(100);
        victim.program().signal("SIGSTOP");
        await delay(6_000);
        const { waiting } = calling.channel().calls;
        victim.program().signal("SIGCONT");
        const since = fleet.book().length;
        await until(() => reached(victim, since) > 20, "it is called as before", limitMs);
        const report = await calls.stop();
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        witness.saw(`${report.failedWrites.size} of ${report.writes.length} other calls failed`);
        const slow = report.tookMs.filter((ms) => ms >= attemptTimeoutMs).length;
        witness.saw(`${slow} calls waited for it`);
        assert.equal(codesOf(report.failedReads), "none");
        assert.equal(waiting, 0);
        assert.ok(slow <= (report.reads.length + report.writes.length) / 20, `${slow} calls waited for it`);
        assert.deepEqual(wrongWrites(report, fleet.book()), []);
        assert.ok(report.failedWrites.size <= report.writes.length / 20, codesOf(report.failedWrites));
      },
    );

    faultTest(
      {
        fault: `3 SIGSTOP, no limit for an attempt, ${wire}`,
        done: "one of three under 100 calls/s, for 6 s; a call has 1 s, an attempt all of it",
        expected: "as many calls fail as waited there before it was known: less than 1 in 20",
      },
      async (witness) => {
        const [victim = assert.fail()] = fleet.instances;
        await using calling = await callIdentity(wire, fleet.addresses(wire), { timeoutMs: 1_000 });
        const calls = startCalls(calling.identity, { writeRatio: 0 });
        await calls.untilMore(100);
        victim.program().signal("SIGSTOP");
        await delay(6_000);
        const report = await calls.stop();
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        witness.saw(codesOf(report.failedReads));
        assert.ok(report.failedReads.size <= report.reads.length / 20, codesOf(report.failedReads));
        for (const { code } of report.failedReads.values()) assert.equal(code, "ERR_DEADLINE_EXCEEDED");
      },
    );

    faultTest(
      {
        fault: `5 half-open, ${wire}`,
        done: "the way to one of three swallows everything, both ways, new connections too, for 6 s under 100 calls/s",
        expected:
          "0 idempotent calls failed with a floor of 100 for retries, at most 5 % waited for it; called as before after it",
      },
      async (witness) => {
        const [victim = assert.fail(), ...others] = fleet.instances;
        await using proxy = await startFaultProxy(() => portOf(victim, wire));
        const own = `127.0.0.1:${proxy.port}`;
        const addresses = [own, ...others.map(({ address }) => address[wire])];
        await using calling = await callIdentity(wire, addresses, { timeoutMs, attemptTimeoutMs, budget });
        await slowly();
        const calls = startCalls(calling.identity);
        await calls.untilMore(100);
        proxy.freeze();
        await delay(6_000);
        proxy.thaw();
        const since = fleet.book().length;
        await until(() => reached(victim, since) > 20, "it is called as before", limitMs);
        const report = await calls.stop();
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        const slow = report.tookMs.filter((ms) => ms >= attemptTimeoutMs).length;
        witness.saw(
          `${report.failedWrites.size} of ${report.writes.length} other calls failed; ${slow} calls waited for it`,
        );
        assert.equal(codesOf(report.failedReads), "none");
        assert.ok(slow <= (report.reads.length + report.writes.length) / 20, `${slow} calls waited for it`);
        assert.deepEqual(wrongWrites(report, fleet.book()), []);
      },
    );

    faultTest(
      {
        fault: `5 half-open, forgotten by a firewall, ${wire}`,
        done: "all connections to the only instance swallow what is sent, new ones work",
        expected: "within ten calls that time out they are given up for new ones; nobody waits for minutes",
      },
      async (witness) => {
        const [victim = assert.fail()] = fleet.instances;
        await using proxy = await startFaultProxy(() => portOf(victim, wire));
        const addresses = [`127.0.0.1:${proxy.port}`];
        await using calling = await callIdentity(wire, addresses, { timeoutMs: 500 });
        const call = (n: number): Promise<boolean> =>
          calling.identity.getUser(userId(`forgotten-${wire}-${n}`)).then(
            () => true,
            () => false,
          );
        await Promise.all(Array.from({ length: 4 }, (_, n) => call(n)));
        const before = proxy.opened();
        proxy.freeze("everything", { onlyOpen: true });
        let failed = 0;
        while (!(await call(failed))) assert.ok(++failed <= 10, "calls go on to time out");
        witness.count({ sent: failed + 1, failed });
        witness.saw(`${failed} calls timed out, then a new connection`);
        assert.ok(proxy.opened() > before);
      },
    );

    faultTest(
      {
        fault: `4 idle connections closed just under our timer, ${wire}`,
        done: "a load balancer closes what is idle for 3.9 s, while bursts come every 3.9 s",
        expected: "0 idempotent calls failed, with a floor of 20 for retries; no other call done twice",
      },
      async (witness) => {
        const idleMs = 3_900;
        const proxies: FaultProxy[] = [];
        const callings: Calling[] = [];
        try {
          for (const instance of fleet.instances) {
            const proxy = await startFaultProxy(() => portOf(instance, wire));
            proxy.closeIdleAfter(idleMs);
            proxies.push(proxy);
          }
          const addresses = proxies.map(({ port }) => `127.0.0.1:${port}`);
          // each begins its bursts a little later than the one before, so that some meet the very moment
          for (let n = 0; n < 12; n++) {
            // all calls of a burst may be on a connection that is lost: seldom calls pay for few retries
            callings.push(await callIdentity(wire, addresses, { timeoutMs, budget: { minRetries: 20 } }));
          }
          const reports = await Promise.all(
            callings.map(async ({ identity }, n) => {
              const calls = startCalls(identity, { perSecond: 0 });
              for (let burst = 0; burst < 5; burst++) {
                calls.begin(8);
                await calls.untilMore(8);
                await delay(idleMs - 30 + n * 5);
              }
              return calls.stop();
            }),
          );
          const closed = proxies.reduce((sum, proxy) => sum + proxy.closedIdle(), 0);
          assert.ok(closed > 0, "nothing was closed");
          for (const report of reports) {
            witness.count({ sent: report.reads.length, failed: report.failedReads.size });
            assert.equal(codesOf(report.failedReads), "none");
            assert.deepEqual(wrongWrites(report, fleet.book()), []);
          }
          const lost = reports.reduce((sum, { failedWrites }) => sum + failedWrites.size, 0);
          const writes = reports.reduce((sum, report) => sum + report.writes.length, 0);
          witness.saw(`${closed} connections closed; ${lost} of ${writes} other calls failed`);
        } finally {
          for (const calling of callings) await calling[Symbol.asyncDispose]();
          for (const proxy of proxies) await proxy[Symbol.asyncDispose]();
        }
      },
    );
  });
}
