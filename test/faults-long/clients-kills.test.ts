// Instances of a service die under the calls of its clients: between calls, before they take one, and in the middle of a reply.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "@plinth/kernel";
import { eventId, userId } from "@plinth/services";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { faultTest } from "../support/fault-row.ts";
import {
  callIdentity,
  codesOf,
  type IdentityFleet,
  startCalls,
  startIdentityFleet,
  wires,
  wrongWrites,
} from "../support/identity-fleet.ts";
import { until } from "../support/until.ts";

const limitMs = 30_000;
let fleet: IdentityFleet;

before(async () => {
  fleet = await startIdentityFleet();
});
afterEach(() => fleet.heal());
after(() => fleet[Symbol.asyncDispose]());

for (const wire of wires) {
  describe(`an instance that is killed, over ${wire}`, () => {
    faultTest(
      {
        fault: `1 killed before accept, ${wire}`,
        done: "one of three by SIGKILL under 200 calls/s, twice, for 2 s each",
        expected: "0 idempotent calls failed; no other call done twice; used again once it is back",
      },
      async (witness) => {
        const [victim = assert.fail()] = fleet.instances;
        await using calling = await callIdentity(wire, fleet.addresses(wire), { timeoutMs: 10_000 });
        await Promise.all(fleet.instances.map((instance) => instance.mood({ delayMs: 10 })));
        const calls = startCalls(calling.identity, { perSecond: 200 });
        await calls.untilMore(100);
        for (let times = 0; times < 2; times++) {
          await victim.end("SIGKILL");
          await delay(2_000);
          await victim.start();
          const before = fleet.book().length;
          await until(
            () =>
              fleet
                .book()
                .slice(before)
                .some(({ instance }) => instance === victim.name),
            `${victim.name} is called again`,
            limitMs,
          );
        }
        const report = await calls.stop();
        witness.count({ sent: report.reads.length, failed: report.failedReads.size });
        witness.saw(`${report.failedWrites.size} of ${report.writes.length} other calls failed`);
        assert.equal(codesOf(report.failedReads), "none");
        assert.deepEqual(wrongWrites(report, fleet.book()), []);
        // those that were under way, and no more: a dead instance costs nothing that was not sent
        assert.ok(report.failedWrites.size <= 20, codesOf(report.failedWrites));
        for (const { status } of report.failedWrites.values()) assert.equal(status, "unavailable");
      },
    );

    faultTest(
      {
        fault: `2 killed mid reply, ${wire}`,
        done: "part of a reply of 1 MB has arrived when its sender is killed by SIGKILL",
        expected:
          "0 failed for an idempotent call, by another instance; any other fails, done once; a stream ends with an error",
      },
      async (witness) => {
        const [victim = assert.fail()] = fleet.instances;
        const port = Number(victim.address[wire].split(":").at(-1));
        let failed = 0;
        for (const kind of ["read", "write", "stream"] as const) {
          await using proxy = await startFaultProxy(() => port);
          const addresses = [`127.0.0.1:${proxy.port}`];
          await using calling = await callIdentity(wire, addresses, { timeoutMs: 20_000 });
          await calling.identity.getUser(userId(`warm-${wire}-${kind}`));
          const id = `mid-${wire}-${kind}`;
          if (kind === "stream") {
            const { audit } = calling.clients;
            await audit.record({
              eventId: eventId("e-12345678"),
              actor: { type: "user", id: "u" },
              action: "a.b",
              outcome: "success",
              occurredAt: new Date(),
              attributes: {},
            });
            const items = audit.tail({ afterSequence: 0 })[Symbol.asyncIterator]();
            assert.equal((await items.next()).value?.kind, "entry");
            assert.equal((await items.next()).value?.kind, "heartbeat");
            await victim.end("SIGKILL");
            await assert.rejects(items.next(), { code: "ERR_RPC_UNAVAILABLE", status: "unavailable" });
          } else {
            await victim.mood({ replyBytes: 1_000_000 });
            proxy.freeze("answers", { afterBytes: kind === "read" ? 10_000 : 0 });
            const call =
              kind === "read"
                ? calling.identity.getUser(userId(id))
                : calling.identity.startEmailVerification(userId(id));
            const settled = call.then(
              () => "answered",
              (error: unknown) => AppError.from(error),
            );
            await until(() => fleet.book().some((entry) => entry.id === id), "the call is there", limitMs);
            if (kind === "read") await until(() => proxy.hasSwallowed, "a part of the reply is there", limitMs);
            await victim.end("SIGKILL");
            if (kind === "read") await victim.start();
            proxy.thaw();
            const outcome = await settled;
            const times = fleet.book().filter((entry) => entry.id === id).length;
            if (kind === "read") {
              if (outcome !== "answered") failed++;
              assert.equal(outcome, "answered");
              assert.equal(times, 2);
            } else {
              assert.ok(outcome instanceof AppError, "a write whose answer is lost is not known to be done");
              assert.equal(outcome.code, "ERR_RPC_UNAVAILABLE");
              assert.equal(times, 1);
            }
          }
          if (kind !== "read") await victim.start();
        }
        witness.count({ sent: 3, failed });
        witness.saw("the idempotent call twice at a server, the other once");
      },
    );
  });
}
