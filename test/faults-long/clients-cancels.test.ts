// Callers leave, at each stage that a call of a service client can be in: it ends at once, its server is told, and nothing of it stays.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, afterEach, before, describe } from "node:test";
import { setImmediate as nextTurn, setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { AppError } from "@plinth/kernel";
import { serviceToken, userId } from "@plinth/services";
import { startFaultProxy } from "../support/fault-proxy.ts";
import { faultTest } from "../support/fault-row.ts";
import {
  type Calling,
  callIdentity,
  type IdentityFleet,
  startIdentityFleet,
  wires,
} from "../support/identity-fleet.ts";
import { until } from "../support/until.ts";

const limitMs = 30_000;
const timeoutMs = 60_000;
let fleet: IdentityFleet;
let calls = 0;

before(async () => {
  fleet = await startIdentityFleet(1);
});
afterEach(() => fleet.heal());
after(() => fleet[Symbol.asyncDispose]());

/** Begins a call; it is to be at the stage when `isThere` says so, and is cancelled then. @returns its id. */
async function leave({ identity }: Calling, isThere: (id: string) => boolean | Promise<boolean>): Promise<string> {
  const id = `left-${calls++}`;
  const caller = new AbortController();
  const failure = identity.getUser(userId(id), { signal: caller.signal }).then(
    () => undefined,
    (error: unknown) => AppError.from(error),
  );
  await until(() => isThere(id), "the call is at its stage", limitMs);
  caller.abort();
  const soon = delay(5_000, "it goes on" as const, { ref: false });
  const outcome = await Promise.race([failure, soon]);
  assert.ok(outcome instanceof AppError, String(outcome));
  assert.deepEqual([outcome.code, outcome.status], ["ERR_CANCELLED", "cancelled"]);
  return id;
}

/** Its caller is told first. */
async function untilNothingLeft(calling: Calling): Promise<void> {
  await until(
    () => {
      const { calls: open, instances } = calling.channel();
      return open.inFlight + open.waiting + instances.reduce((sum, { inFlight }) => sum + inFlight, 0) === 0;
    },
    () => `nothing is under way; there is ${JSON.stringify(calling.channel())}`,
    5_000,
  );
}

const untilWell = ({ identity }: Calling, id: string): Promise<void> =>
  until(
    () =>
      identity.getUser(userId(id)).then(
        () => true,
        () => false,
      ),
    "calls are answered",
    limitMs,
  );

/** What is in use, without what nobody refers to any more. */
function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc()");
  return process.memoryUsage().heapUsed;
}

const has = (kind: "read" | "left", id: string): boolean =>
  fleet.book().some((entry) => entry.kind === kind && entry.id === id);

for (const wire of wires) {
  describe(`a caller that leaves, over ${wire}`, () => {
    faultTest(
      {
        fault: `10 caller leaves, ${wire}`,
        done: "while its call waits for a token, for a place, for a connection, for the reply, for the rest of it, for another attempt; in a stream",
        expected: "the call ends at once as cancelled, its server is told, nothing is sent later, nothing stays in use",
      },
      async (witness) => {
        const [one = assert.fail()] = fleet.instances;
        const address = one.address[wire];
        await using proxy = await startFaultProxy(() => Number(address.split(":").at(-1)));
        const through = [`127.0.0.1:${proxy.port}`];
        let count = 0;
        const at = async (calling: Calling, isThere: (id: string) => boolean | Promise<boolean>): Promise<string> => {
          const id = await leave(calling, isThere);
          count++;
          await untilNothingLeft(calling);
          return id;
        };
        {
          let isAsked = false;
          const credentials = serviceToken({
            token: () => {
              isAsked = true;
              return new Promise(() => {});
            },
          });
          await using calling = await callIdentity(wire, [address], { timeoutMs, credentials });
          const id = await at(calling, () => isAsked);
          assert.ok(!has("read", id), "nothing is sent without its token");
        }
        {
          await one.mood({ delayMs: 1_000 });
          await using calling = await callIdentity(wire, [address], { timeoutMs, maxInFlight: 1 });
          const holder = calling.identity.getUser(userId(`holder-${wire}`));
          const id = await leave(calling, () => calling.channel().calls.waiting === 1);
          count++;
          await holder;
          await untilNothingLeft(calling);
          assert.ok(!has("read", id), "nothing is sent for who has left its queue");
          await one.mood({});
        }
        {
          proxy.freeze();
          await using calling = await callIdentity(wire, through, { timeoutMs });
          const opened = proxy.opened();
          const id = await at(calling, () => proxy.opened() > opened);
          proxy.thaw();
          await untilWell(calling, `later-${wire}`);
          if (wire === "grpc")
            assert.ok(!has("read", id), "nothing is sent for who has left before there is a connection");
        }
        {
          await one.mood({ delayMs: 30_000 });
          await using calling = await callIdentity(wire, [address], { timeoutMs });
          const id = await at(calling, (sent) => has("read", sent));
          await until(() => has("left", id), "the server is told", limitMs);
          await one.mood({});
        }
        {
          await using calling = await callIdentity(wire, through, { timeoutMs });
          await calling.identity.getUser(userId(`warm-${wire}`));
          await one.mood({ replyBytes: 1_000_000 });
          proxy.freeze("answers", { afterBytes: 10_000 });
          await at(calling, () => proxy.hasSwallowed);
          proxy.thaw();
          await one.mood({});
        }
        {
          await using calling = await callIdentity(wire, [address], {
            timeoutMs,
            breaker: false,
            retries: { baseDelayMs: 30_000, maxDelayMs: 30_000 },
          });
          await one.mood({ failing: 1 });
          const id = await at(calling, (sent) => has("read", sent) && calling.channel().instances[0]?.inFlight === 0);
          await one.mood({});
          await delay(200);
          assert.equal(fleet.book().filter((entry) => entry.id === id).length, 1, "no attempt comes after its caller");
        }
        {
          await using calling = await callIdentity(wire, [address], { timeoutMs });
          const { audit } = calling.clients;
          const caller = new AbortController();
          const items = audit.tail({ afterSequence: 0 }, { signal: caller.signal })[Symbol.asyncIterator]();
          await items.next();
          const next = items.next();
          caller.abort();
          await assert.rejects(next, { code: "ERR_CANCELLED" });
          const { audit: channel } = calling.clients.describe();
          assert.equal(channel?.calls.inFlight, 0);
          count++;
        }
        witness.count({ sent: count, failed: 0 });
      },
    );

    faultTest(
      {
        fault: `10 callers leave, ${wire}`,
        done: "5 000 calls, each broken off at another moment of its life",
        expected: "no file descriptor and less than 8 MiB of heap more; calls go on as before",
      },
      async (witness) => {
        const [one = assert.fail()] = fleet.instances;
        await one.mood({ delayMs: 5 });
        // so many cancelled calls of HTTP/2 are an attack: its server ends the connection, and another one is made; a breaker would take that for
        // failures of the method, as it may, and refuse calls that are to be looked at here
        await using calling = await callIdentity(wire, [one.address[wire]], { timeoutMs, breaker: false });
        let lost = 0;
        const cycle = async (n: number): Promise<void> => {
          const caller = new AbortController();
          const call = calling.identity.getUser(userId(`cycle-${wire}-${n}`), { signal: caller.signal }).then(
            () => undefined,
            (error: unknown) => AppError.from(error),
          );
          const steps = n % 5;
          if (steps === 4) await delay(6);
          else for (let step = 0; step < steps; step++) await nextTurn();
          caller.abort();
          const failure = await call;
          if (failure?.code === "ERR_RPC_UNAVAILABLE") lost++;
          else if (failure && failure.code !== "ERR_CANCELLED") throw failure;
        };
        const many = async (from: number, count: number): Promise<void> => {
          for (let n = from; n < from + count; n += 20)
            await Promise.all(Array.from({ length: 20 }, (_, k) => cycle(n + k)));
        };
        await many(0, 1_000);
        await untilWell(calling, `settled-${wire}`);
        const files = readdirSync("/proc/self/fd").length;
        const bytes = heapBytes();
        await many(1_000, 5_000);
        await untilWell(calling, `well-${wire}`);
        const more = heapBytes() - bytes;
        await untilNothingLeft(calling);
        await until(() => readdirSync("/proc/self/fd").length <= files + 20, "descriptors are closed", limitMs);
        witness.count({ sent: 5_000, failed: 0 });
        assert.ok(wire === "grpc" || lost === 0, `${lost} were lost`);
        witness.saw(`${lost} lost with their connection; ${Math.round(more / 1024 / 1024)} MiB more`);
        assert.ok(more < 8 * 1024 * 1024, `${more} bytes more`);
      },
    );
  });
}
