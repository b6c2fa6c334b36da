// The Redis that two gateways share their limits in fails in every way while load flows: it is killed, hangs, forgets, refuses to write.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { describe } from "node:test";
import { createGateway, type Gateway } from "@plinth/gateway";
import { createMetrics, type Metrics } from "@plinth/kernel";
import { createMemoryRegistry, createMemoryStore } from "@plinth/registry";
import { type OnStoreFailure, openRedisRateStore } from "@plinth/resilience";
import { type Redis, startRedis } from "../../scripts/servers/index.ts";
import { faultTest, type Witness } from "../support/fault-row.ts";
import { until } from "../support/until.ts";

const limit = 40;
const windowMs = 2_000;
/** What a decision waits for Redis, as by default; and where it is to count every request, however slow this machine is. */
const usualDeadlineMs = 30;
const patientDeadlineMs = 5_000;
const limitMs = 60_000;
const gateways = 2;

/** One request that was let through or not, and when it began and ended. */
interface Answer {
  readonly status: number;
  readonly fromMs: number;
  readonly toMs: number;
}

interface Pair extends AsyncDisposable {
  readonly redis: Redis;
  readonly all: readonly { readonly gateway: Gateway; readonly metrics: Metrics }[];
  readonly answers: readonly Answer[];
  /** Lets the load flow for so long. @returns When it began, and what came of it. */
  flow(ms: number): Promise<{ readonly fromMs: number; readonly answers: readonly Answer[] }>;
  untilDegraded(isDegraded: boolean): Promise<void>;
  /** A metric without labels, over both. */
  total(name: string): Promise<number>;
}

/** Two gateways, one limit, one caller who asks both by turns as fast as they answer. */
async function startPair(onStoreFailure: OnStoreFailure, deadlineMs = patientDeadlineMs): Promise<Pair> {
  const redis = await startRedis();
  const origin = createServer((_request, response) => response.end("ok")).listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  const registry = createMemoryRegistry({ store: createMemoryStore() });
  await registry.register({ service: "s", id: "s-1", host: "127.0.0.1", ports: { http: address.port } });
  const rateLimit = { limit, windowMs, by: "address", onStoreFailure } as const;
  const route = { name: "all", match: { path: "/**" }, service: "s", anonymous: true, rateLimit } as const;
  const all = await Promise.all(
    Array.from({ length: gateways }, async () => {
      const store = await openRedisRateStore({ url: redis.url, connectTimeoutMs: 5_000 });
      const metrics = createMetrics();
      const gateway = createGateway({
        document: { routes: [route] },
        registry,
        metrics,
        settings: { port: 0, maxLoopDelayMs: 0 },
        limitStore: { store, deadlineMs, gateways: () => gateways },
      });
      await gateway.listen();
      return { gateway, metrics, store };
    }),
  );
  const answers: Answer[] = [];
  let turn = 0;
  const ask = async (): Promise<void> => {
    const { gateway } = all[turn++ % gateways] ?? assert.fail();
    const fromMs = performance.now();
    const reply = await fetch(`http://127.0.0.1:${gateway.port}/`);
    await reply.arrayBuffer();
    answers.push({ status: reply.status, fromMs, toMs: performance.now() });
  };
  return {
    redis,
    all,
    answers,
    async flow(ms) {
      const fromMs = performance.now();
      const before = answers.length;
      const work = async (): Promise<void> => {
        while (performance.now() < fromMs + ms) {
          await ask();
          await delay(10);
        }
      };
      await Promise.all([work(), work(), work(), work()]);
      return { fromMs, answers: answers.slice(before) };
    },
    untilDegraded: (isDegraded) =>
      until(
        async () => {
          await ask();
          return all.every(({ gateway }) => gateway.isLimitStoreDegraded === isDegraded);
        },
        `all ${isDegraded ? "without" : "with"} their store`,
        limitMs,
      ),
    async total(name) {
      const texts = await Promise.all(all.map(async ({ metrics }) => (await metrics.expose()).body));
      return texts.reduce((sum, text) => sum + Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? 0), 0);
    },
    async [Symbol.asyncDispose]() {
      for (const { gateway, store } of all) {
        await gateway.close();
        await store.close();
      }
      await registry.close();
      origin.close();
      await redis.stop();
    },
  };
}

/** The most that went through within any window, of what had surely begun in it and surely ended in it. */
function mostInWindow(answers: readonly Answer[]): number {
  const passed = answers.filter(({ status }) => status === 200);
  return Math.max(
    0,
    ...passed.map(
      ({ fromMs }) => passed.filter((other) => other.fromMs >= fromMs && other.toMs < fromMs + windowMs).length,
    ),
  );
}

function only(answers: readonly Answer[], statuses: readonly number[], witness: Witness): void {
  const others = answers.filter(({ status }) => !statuses.includes(status));
  witness.count({ sent: answers.length, failed: others.length });
  assert.deepEqual(others, [], `anything but ${statuses.join(", ")}`);
}

describe("the Redis of shared limits fails", () => {
  faultTest(
    {
      fault: "19 Redis killed, local share",
      done: "killed by SIGKILL for three windows and started again, empty",
      expected: "0 failed; at most the limit in any window, no fresh limit after it",
    },
    async (witness) => {
      await using pair = await startPair("localShare");
      const healthy = await pair.flow(2 * windowMs);
      const most = mostInWindow(healthy.answers);
      assert.ok(most <= limit && most > limit / 2, `${most}`);
      await pair.redis.kill("SIGKILL");
      await pair.untilDegraded(true);
      await delay(windowMs);
      const lost = mostInWindow((await pair.flow(2 * windowMs)).answers);
      assert.ok(lost <= limit && lost > 0, `${lost} by shares`);
      await pair.redis.restart();
      const before = pair.answers.length;
      await pair.untilDegraded(false);
      await pair.flow(2 * windowMs);
      const rejoining = mostInWindow(pair.answers.slice(before));
      // Each tells what went without the store; until it has noticed, the other's share comes on top.
      assert.ok(rejoining <= limit + limit / gateways, `${rejoining} when it came back`);
      const after = mostInWindow((await pair.flow(2 * windowMs)).answers);
      assert.ok(after <= limit && after > limit / 2, `${after}`);
      witness.saw(`most in a window: ${most} before, ${lost} without, ${rejoining} coming back, ${after} after`);
      only(pair.answers, [200, 429], witness);
    },
  );

  faultTest(
    {
      fault: "19 Redis hung",
      done: "stopped by SIGSTOP for three windows, then goes on",
      expected: "0 failed; few wait for the deadline, the others do not ask",
    },
    async (witness) => {
      await using pair = await startPair("localShare", usualDeadlineMs);
      await pair.flow(windowMs);
      const failuresBefore = await pair.total("gateway_rate_limit_store_failures_total");
      await pair.redis.kill("SIGSTOP");
      await pair.untilDegraded(true);
      const { answers } = await pair.flow(3 * windowMs);
      const waited = (await pair.total("gateway_rate_limit_store_failures_total")) - failuresBefore;
      await pair.redis.kill("SIGCONT");
      await pair.untilDegraded(false);
      const after = mostInWindow((await pair.flow(2 * windowMs)).answers);
      // An answer that is late, as it may be on a busy machine, is decided by shares.
      assert.ok(after < 2 * limit, `${after}`);
      assert.ok(waited < answers.length / 5, `${waited} of ${answers.length} waited`);
      const took = answers.map(({ fromMs, toMs }) => toMs - fromMs).toSorted((a, b) => a - b);
      const at = (share: number): string => (took[Math.floor(took.length * share)] ?? 0).toFixed(1);
      witness.saw(`${waited} of ${answers.length} waited; p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(0.9999)} ms`);
      only(pair.answers, [200, 429], witness);
    },
  );

  for (const [onStoreFailure, status] of [
    ["open", 200],
    ["closed", 503],
  ] as const) {
    faultTest(
      {
        fault: `19 Redis killed, ${onStoreFailure}`,
        done: "killed by SIGKILL for a window and started again",
        expected: onStoreFailure === "open" ? "0 failed; all go" : "0 failed; all get 503, with a reason",
      },
      async (witness) => {
        await using pair = await startPair(onStoreFailure);
        await pair.flow(windowMs);
        await pair.redis.kill("SIGKILL");
        await pair.untilDegraded(true);
        const { answers } = await pair.flow(windowMs);
        assert.deepEqual([...new Set(answers.map((answer) => answer.status))], [status]);
        await pair.redis.restart();
        await pair.untilDegraded(false);
        const back = await pair.flow(2 * windowMs);
        const refused = back.answers.filter((answer) => answer.status === 429).length;
        assert.ok(refused > back.answers.length / 2, `${refused} of ${back.answers.length} are refused again`);
        witness.saw(`${answers.length} answered ${status} without Redis`);
        only(pair.answers, [200, 429, status], witness);
      },
    );
  }

  faultTest(
    {
      fault: "19 Redis read-only",
      done: "made the replica of a server that is not there, and a primary again",
      expected: "0 failed; by shares, then together again",
    },
    async (witness) => {
      await using pair = await startPair("localShare");
      await pair.flow(windowMs);
      await pair.redis.ask("REPLICAOF", "127.0.0.1", "1");
      await pair.untilDegraded(true);
      await delay(windowMs);
      const lost = mostInWindow((await pair.flow(2 * windowMs)).answers);
      assert.ok(lost <= limit && lost > 0, `${lost} by shares`);
      await pair.redis.ask("REPLICAOF", "NO", "ONE");
      await pair.untilDegraded(false);
      await pair.flow(windowMs);
      const after = mostInWindow((await pair.flow(2 * windowMs)).answers);
      assert.ok(after <= limit && after > limit / 2, `${after}`);
      witness.saw(`most in a window: ${lost} without, ${after} after`);
      only(pair.answers, [200, 429], witness);
    },
  );

  faultTest(
    {
      fault: "19 Redis FLUSHALL",
      done: "keys and scripts deleted in the middle of a window, five times",
      expected: "0 failed; keys made anew, at most one more limit for each",
    },
    async (witness) => {
      await using pair = await startPair("localShare");
      for (let times = 0; times < 5; times++) {
        await pair.flow(windowMs / 2);
        await pair.redis.ask("SCRIPT", "FLUSH");
        await pair.redis.ask("FLUSHALL");
      }
      const most = mostInWindow(pair.answers);
      assert.ok(most <= 4 * limit, `${most}`);
      const after = (await pair.flow(2 * windowMs)).answers;
      const late = after.filter(({ fromMs }) => fromMs > (after[0]?.fromMs ?? 0) + windowMs / 2);
      assert.ok(mostInWindow(late) <= limit);
      assert.match(await pair.redis.ask("KEYS", "*"), /plinth:rate:/);
      witness.saw(`most in a window: ${most} while keys were deleted`);
      only(pair.answers, [200, 429], witness);
    },
  );
});
