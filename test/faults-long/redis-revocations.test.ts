// The Redis that gateways share their revocations in fails in every way while requests flow: it is killed, hangs, forgets, and one gateway is cut off.
import assert from "node:assert/strict";
import { describe } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { createGateway, type Gateway } from "@plinth/gateway";
import { createMetrics, type Metrics } from "@plinth/kernel";
import { createMemoryRegistry, createMemoryStore } from "@plinth/registry";
import { openRedisTexts, type SharedTexts } from "@plinth/resilience";
import { revocationText } from "@plinth/transport/jwt";
import { signingKey, tokenOf } from "../../pkg/gateway/src/testing/issuer.ts";
import { findFreePorts, type Redis, startRedis } from "../../scripts/servers/index.ts";
import { startGatewayWorkers } from "../support/gateway-workers.ts";
import { faultTest, type Witness } from "../support/fault-row.ts";
import { until } from "../support/until.ts";

const key = signingKey("one");
const limitMs = 60_000;
const hourMs = 3_600_000;

interface Member {
  readonly gateway: Gateway;
  readonly metrics: Metrics;
  readonly store: SharedTexts;
}

interface Group extends AsyncDisposable {
  readonly redis: Redis;
  readonly all: Member[];
  /** One more gateway. */
  join(): Promise<Member>;
  leave(member: Member): Promise<void>;
  /** Lets requests flow through all until it has resolved. @returns The slowest, in ms. */
  during(work: () => Promise<unknown>, witness: Witness): Promise<number>;
}

async function startGroup(count: number, args: readonly string[] = [], cluster = false): Promise<Group> {
  const redis = await startRedis({ args });
  if (cluster) {
    await redis.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
    await until(async () => (await redis.ask("CLUSTER", "INFO")).includes("cluster_state:ok"), "the Cluster", limitMs);
  }
  const registry = createMemoryRegistry({ store: createMemoryStore() });
  const all: Member[] = [];
  const leave = async (member: Member): Promise<void> => {
    if (all.includes(member)) all.splice(all.indexOf(member), 1);
    await delay(100); // what was sent to it is answered
    await member.gateway.close();
    await member.store.close();
  };
  const join = async (): Promise<Member> => {
    const store = await openRedisTexts({ url: redis.url, cluster, list: "revocations", connectTimeoutMs: 5_000 });
    const metrics = createMetrics();
    const gateway = createGateway({
      document: {
        jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [key.jwk] } } },
        routes: [{ name: "all", match: { path: "/**" }, service: "none", auth: {} }],
      },
      registry,
      metrics,
      settings: { port: 0, maxLoopDelayMs: 0 },
      revocationStore: store,
    });
    await gateway.listen();
    const member = { gateway, metrics, store };
    all.push(member);
    return member;
  };
  for (let at = 0; at < count; at++) await join();
  const usual = tokenOf(key, { jti: "usual" });
  return {
    redis,
    all,
    join,
    leave,
    async during(work, witness) {
      let sent = 0;
      let failed = 0;
      let slowestMs = 0;
      const over = new AbortController();
      const flow = async (): Promise<void> => {
        while (!over.signal.aborted) {
          for (const member of all) {
            const fromMs = performance.now();
            if ((await statusOf(member, usual)) !== 503) failed++;
            slowestMs = Math.max(slowestMs, performance.now() - fromMs);
            sent++;
          }
          await delay(10);
        }
      };
      const flowing = flow();
      try {
        await work();
      } finally {
        over.abort();
        await flowing;
      }
      witness.count({ sent, failed });
      assert.equal(failed, 0);
      return slowestMs;
    },
    async [Symbol.asyncDispose]() {
      for (const member of all.toReversed()) await leave(member);
      await registry.close();
      await redis.stop();
    },
  };
}

/** 401 where it is revoked; 503 where it is taken, since the service has no instances. */
async function statusOf({ gateway }: Member, token: string): Promise<number> {
  const reply = await fetch(`http://127.0.0.1:${gateway.port}/`, { headers: { authorization: `Bearer ${token}` } });
  await reply.arrayBuffer();
  return reply.status;
}

/** @returns How long it took until all refuse it, in ms. */
async function untilAllRefuse(group: Group, jti: string): Promise<number> {
  const fromMs = performance.now();
  const token = tokenOf(key, { jti });
  await until(
    async () => (await Promise.all(group.all.map((each) => statusOf(each, token)))).every((status) => status === 401),
    `all refuse ${jti}`,
    limitMs,
  );
  return performance.now() - fromMs;
}

const untilDegraded = (group: Group, isDegraded: boolean): Promise<unknown> =>
  until(
    () => group.all.every(({ gateway }) => gateway.isRevocationStoreDegraded === isDegraded),
    `all ${isDegraded ? "without" : "with"} their store`,
    limitMs,
  );

function revoke(group: Group, at: number, jti: string): void {
  (group.all[at] ?? assert.fail()).gateway.revocations.add({ jti, untilMs: Date.now() + hourMs });
}

describe("the Redis of shared revocations fails", () => {
  for (const [kind, cluster] of [
    ["one server", false],
    ["a Cluster", true],
  ] as const) {
    faultTest(
      {
        fault: `19 Redis of revocations, ${kind}`,
        done: "killed by SIGKILL, revoked at each gateway meanwhile, one of them started anew, and Redis started again, empty",
        expected: "0 failed; each refuses what it knows, and all of them everything when Redis is back",
      },
      async (witness) => {
        const [bus = 0] = await findFreePorts(1);
        const args = cluster ? ["--cluster-enabled", "yes", "--cluster-port", String(bus)] : [];
        await using group = await startGroup(3, args, cluster);
        const slowestMs = await group.during(async () => {
          revoke(group, 0, "before");
          const healthyMs = await untilAllRefuse(group, "before");
          await group.redis.kill("SIGKILL");
          await untilDegraded(group, true);
          for (const at of [0, 1, 2]) revoke(group, at, `away-${at}`);
          const statuses = await Promise.all(group.all.map((each) => statusOf(each, tokenOf(key, { jti: "away-0" }))));
          assert.deepEqual(statuses, [401, 503, 503], "known where it was made");
          for (const each of group.all) assert.equal(await statusOf(each, tokenOf(key, { jti: "before" })), 401);
          await group.redis.restart();
          if (cluster) await group.redis.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
          await untilDegraded(group, false);
          for (const jti of ["before", "away-0", "away-1", "away-2"]) await untilAllRefuse(group, jti);
          await group.leave(group.all[0] ?? assert.fail());
          const fresh = await group.join();
          for (const jti of ["before", "away-0", "away-1", "away-2"])
            assert.equal(await statusOf(fresh, tokenOf(key, { jti })), 401, `${jti}, by one that has just begun`);
          witness.saw(`reached all in ${healthyMs.toFixed(0)} ms`);
        }, witness);
        witness.saw(`slowest request ${slowestMs.toFixed(0)} ms`);
      },
    );
  }

  faultTest(
    {
      fault: "19 Redis of revocations hung",
      done: "stopped by SIGSTOP for ten seconds, revoked and taken back meanwhile, then goes on",
      expected: "0 failed; no request waits, and what was made meanwhile is shared",
    },
    async (witness) => {
      await using group = await startGroup(2);
      revoke(group, 0, "taken back");
      await untilAllRefuse(group, "taken back");
      const slowestMs = await group.during(async () => {
        await group.redis.kill("SIGSTOP");
        await untilDegraded(group, true);
        revoke(group, 0, "meanwhile");
        const { revocations } = (group.all[1] ?? assert.fail()).gateway;
        const held = revocations.added().find(({ jti }) => jti === "taken back");
        assert.equal(revocations.remove(held ?? assert.fail()), true);
        await delay(10_000);
        await group.redis.kill("SIGCONT");
        await untilDegraded(group, false);
        await untilAllRefuse(group, "meanwhile");
        const token = tokenOf(key, { jti: "taken back" });
        for (const each of group.all)
          await until(async () => (await statusOf(each, token)) === 503, "it is taken again", limitMs);
      }, witness);
      witness.saw(`slowest request ${slowestMs.toFixed(0)} ms`);
    },
  );

  faultTest(
    {
      fault: "19 Redis of revocations, workers",
      done: "two plinth-gateways of two workers each, a program that writes into the list, a worker killed by SIGKILL, Redis killed and empty again",
      expected: "0 failed; all workers refuse what is in the list, those that take the place of others as well",
    },
    async (witness) => {
      await using redis = await startRedis();
      const environment = { PLINTH_REDIS_URL: redis.url };
      await using one = await startGatewayWorkers({ jwk: key.jwk, environment });
      await using other = await startGatewayWorkers({ jwk: key.jwk, environment });
      const list = await openRedisTexts({ url: redis.url, list: "revocations", connectTimeoutMs: 5_000 });
      let sent = 0;
      let failed = 0;
      /** By a connection for each: both workers have some of them. */
      const all = async (jti: string, expected: number): Promise<boolean> => {
        const headers = { authorization: `Bearer ${tokenOf(key, { jti })}` };
        const asked = [one, other].flatMap((gateway) =>
          Array.from({ length: 10 }, () => gateway.get("/private", { headers })),
        );
        const statuses = (await Promise.all(asked)).map(({ status }) => status);
        sent += statuses.length;
        failed += statuses.filter((status) => status !== 200 && status !== 401).length;
        return statuses.every((status) => status === expected);
      };
      try {
        assert.equal(await all("t1", 200), true);
        await list.add([{ text: revocationText({ jti: "t1" }), untilMs: Date.now() + hourMs }]);
        const fromMs = performance.now();
        await until(() => all("t1", 401), "all workers refuse it", limitMs);
        witness.saw(`reached all in ${(performance.now() - fromMs).toFixed(0)} ms`);
        assert.equal(await all("t2", 200), true);
        witness.count({ sent, failed });
        const [{ pid } = assert.fail()] = (await one.routes()).workers;
        process.kill(pid, "SIGKILL");
        const isWhole = async (): Promise<boolean> => {
          const { workers } = await one.routes();
          return workers.every((each) => each.isReady && each.pid !== pid);
        };
        await until(isWhole, "another worker has taken its place", limitMs);
        for (let times = 0; times < 10; times++) assert.equal(await all("t1", 401), true);
        await redis.kill("SIGKILL");
        assert.equal(await all("t1", 401), true);
        await redis.restart();
        await until(
          async () => (await redis.ask("ZCARD", "plinth:{revocations}:until")) === ":1",
          "it is put back",
          limitMs,
        );
      } finally {
        await list.close();
      }
      assert.equal(failed, 0);
    },
  );

  faultTest(
    {
      fault: "19 Redis of revocations, 50 000 of them",
      done: "revoked one by one at two gateways, and deleted by FLUSHALL twice",
      expected: "0 failed; every one reaches the other, and stands in Redis again",
    },
    async (witness) => {
      await using group = await startGroup(2);
      const many = 50_000;
      const slowestMs = await group.during(async () => {
        const fromMs = performance.now();
        for (let at = 0; at < many; at++) {
          revoke(group, at % 2, `t${at}`);
          if (at % 500 === 0) await delay(1);
        }
        await until(() => group.all.every(({ gateway }) => gateway.revocations.size === many), "all have all", limitMs);
        witness.saw(`all have all in ${(performance.now() - fromMs).toFixed(0)} ms`);
        for (let times = 0; times < 2; times++) {
          await group.redis.ask("FLUSHALL");
          await until(
            async () => (await group.redis.ask("ZCARD", "plinth:{revocations}:until")) === `:${many}`,
            "all are put back",
            limitMs,
          );
        }
        revoke(group, 0, "after");
        witness.saw(`one more reached all in ${(await untilAllRefuse(group, "after")).toFixed(0)} ms`);
      }, witness);
      witness.saw(`slowest request ${slowestMs.toFixed(0)} ms`);
    },
  );
});
