// Instances of a service are told to stop while calls are under way, and all of them are replaced, one after the other, under load.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { userId } from "@plinth/services";
import { createMemoryRegistry, createMemoryStore } from "@plinth/registry";
import { faultTest } from "../support/fault-row.ts";
import {
  callIdentity,
  type CallsReport,
  codesOf,
  type IdentityFleet,
  type Instance,
  startCalls,
  startIdentityFleet,
  wires,
  wrongWrites,
} from "../support/identity-fleet.ts";
import { until } from "../support/until.ts";

const limitMs = 60_000;
const timeoutMs = 10_000;
const port = (address: string): number => Number(address.split(":").at(-1));
let fleet: IdentityFleet;

before(async () => {
  fleet = await startIdentityFleet();
});
afterEach(() => fleet.heal());
after(() => fleet[Symbol.asyncDispose]());

function judge({ failedReads, failedWrites, ...report }: CallsReport): void {
  assert.equal(codesOf(failedReads), "none");
  for (const { status } of failedWrites.values()) assert.equal(status, "unavailable");
  assert.deepEqual(wrongWrites({ failedReads, failedWrites, ...report }, fleet.book()), []);
}

async function untilCalled(instance: Instance): Promise<void> {
  const since = fleet.book().length;
  await until(
    () =>
      fleet
        .book()
        .slice(since)
        .some((entry) => entry.instance === instance.name),
    `${instance.name} is called`,
    limitMs,
  );
}

for (const wire of wires) {
  describe(`instances that are told to stop, over ${wire}`, () => {
    faultTest(
      {
        fault: `2 ${wire === "grpc" ? "GOAWAY" : "connection: close"} with calls under way`,
        done: "the only instance stops by SIGTERM, with 40 calls of 500 ms each under way, half of them not idempotent",
        expected: "0 failed: what has been taken is answered",
      },
      async (witness) => {
        const [one = assert.fail()] = fleet.instances;
        await one.mood({ delayMs: 500 });
        await using calling = await callIdentity(wire, [one.address[wire]], { timeoutMs });
        const calls = startCalls(calling.identity, { perSecond: 0, writeRatio: 0.5 });
        const since = fleet.book().length;
        calls.begin(40);
        await until(() => fleet.book().length - since >= 40, "all calls are there", limitMs);
        await one.end("SIGTERM");
        const report = await calls.stop();
        witness.count({
          sent: report.reads.length + report.writes.length,
          failed: report.failedReads.size + report.failedWrites.size,
        });
        assert.equal(codesOf(report.failedWrites), "none");
        judge(report);
        assert.equal(fleet.book().slice(since).length, 40);
        await assert.rejects(calling.identity.getUser(userId("nobody")), { status: "unavailable" });
      },
    );

    faultTest(
      {
        fault: `rolling restart, addresses, ${wire}`,
        done: "three of three, one after the other by SIGTERM and anew on the same port, under 200 calls/s",
        expected: "0 idempotent calls failed; no other call done twice",
      },
      async (witness) => {
        await Promise.all(fleet.instances.map((instance) => instance.mood({ delayMs: 10 })));
        await using calling = await callIdentity(wire, fleet.addresses(wire), { timeoutMs });
        const calls = startCalls(calling.identity, { perSecond: 200 });
        await calls.untilMore(200);
        for (const instance of fleet.instances) {
          await instance.end("SIGTERM");
          await instance.start();
          await instance.mood({ delayMs: 10 });
          await untilCalled(instance);
        }
        const report = await calls.stop();
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        witness.saw(`${report.failedWrites.size} of ${report.writes.length} other calls failed`);
        judge(report);
        // what has begun is answered, and what a closing server does not take is sent elsewhere
        assert.ok(report.failedWrites.size <= report.writes.length / 100, codesOf(report.failedWrites));
      },
    );

    faultTest(
      {
        fault: `rolling restart, registry, ${wire}`,
        done: "each of three is replaced by one on another port: registered, the old one taken out, then stopped by SIGTERM, under 200 calls/s",
        expected: "0 calls failed, idempotent or not",
      },
      async (witness) => {
        await using rolled = await startIdentityFleet();
        const registry = createMemoryRegistry({ store: createMemoryStore() });
        const register = (instance: Instance) =>
          registry.register({
            service: "identity",
            id: `${instance.name}-${port(instance.address.http)}`,
            host: "127.0.0.1",
            ports: { http: port(instance.address.http), grpc: port(instance.address.grpc) },
          });
        const running = [];
        for (const instance of rolled.instances) running.push({ instance, registration: await register(instance) });
        await using calling = await callIdentity(wire, [], { timeoutMs, find: { registry } });
        const calls = startCalls(calling.identity, { perSecond: 200 });
        await calls.untilMore(200);
        for (const { instance, registration } of running) {
          const next = await rolled.add();
          await register(next);
          await until(() => rolled.book().some((entry) => entry.instance === next.name), "it is called", limitMs);
          await registration.deregister();
          await delay(200); // as an app announces that it goes
          await instance.end("SIGTERM");
        }
        const report = await calls.stop();
        await registry.close();
        witness.count({
          sent: report.reads.length + report.writes.length,
          failed: report.failedReads.size + report.failedWrites.size,
        });
        assert.equal(codesOf(report.failedReads), "none");
        assert.equal(codesOf(report.failedWrites), "none");
        assert.deepEqual(wrongWrites(report, rolled.book()), []);
      },
    );

    faultTest(
      {
        fault: `1 all killed at once, ${wire}`,
        done: "three of three by SIGKILL under 100 calls/s, and anew on the same ports",
        expected: "what fails is unavailable, at once; all is well again; no other call done twice",
      },
      async (witness) => {
        await using calling = await callIdentity(wire, fleet.addresses(wire), { timeoutMs });
        const calls = startCalls(calling.identity);
        await calls.untilMore(100);
        await Promise.all(fleet.instances.map((instance) => instance.end("SIGKILL")));
        await calls.untilMore(100);
        for (const instance of fleet.instances) await instance.start();
        await until(
          async () => {
            const failed = calls.failedReads();
            await calls.untilMore(100);
            return calls.failedReads() === failed;
          },
          "100 calls in a row succeed",
          limitMs,
        );
        const report = await calls.stop();
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        for (const { status } of [...report.failedReads.values(), ...report.failedWrites.values()])
          assert.equal(status, "unavailable");
        assert.ok(report.failedReads.size > 0);
        assert.deepEqual(wrongWrites(report, fleet.book()), []);
      },
    );
  });
}
