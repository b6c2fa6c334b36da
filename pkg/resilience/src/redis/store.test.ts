import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createTracing, Secret, type Span, systemClock, type Tracing } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import { findFreePorts, type Redis, startRedis } from "../../../../scripts/servers/index.ts";
import { createRateLimiter } from "../rate-limiter.ts";
import { openRedisRateStore } from "../shared/open-store.ts";
import { createSharedRateLimiter } from "../shared/shared-limiter.ts";
import { StoreGate } from "../shared/store-gate.ts";
import type { RateStore } from "../shared/types.ts";
import { testRateLimiter } from "../testing/rate-limiter-suite.ts";

describe("a rate limit in this process", () => {
  testRateLimiter(async (options) => {
    const clock = new FakeClock();
    const limiter = createRateLimiter({ ...options, clock });
    return { clock, take: (key, cost) => limiter.take(key, cost) };
  });
});

describe("a rate limit in Redis", () => {
  let redis: Redis;
  const stores: RateStore[] = [];
  const open = async (more: Partial<Parameters<typeof openRedisRateStore>[0]> = {}): Promise<RateStore> => {
    const store = await openRedisRateStore({ url: redis.url, connectTimeoutMs: 20_000, ...more });
    stores.push(store);
    return store;
  };
  const ask = { name: "a", key: "k", limit: 3, windowMs: 60_000, cost: 1, owed: 0 };
  before(async () => (redis = await startRedis()));
  after(async () => {
    for (const store of stores) await store.close();
    await redis.stop();
  });

  const clock = new FakeClock();
  testRateLimiter(async ({ limit, windowMs }) => {
    const nowMs = (): number => 1_767_225_600_000 + clock.monotonicMs();
    const store = await open({ nowMs, keyPrefix: randomUUID() });
    return { clock, take: (key, cost = 1) => store.take({ ...ask, key, limit, windowMs, cost }) };
  });

  it("lets two gateways that share a key have the limit together, however many ask at one time", async () => {
    const both = [await open(), await open()];
    const limiters = both.map((store) =>
      createSharedRateLimiter({
        name: "shared",
        limit: 50,
        windowMs: 3_600_000,
        gate: new StoreGate({ store, deadlineMs: 10_000 }),
      }),
    );
    const verdicts = await Promise.all(
      Array.from({ length: 200 }, (_, index) => limiters[index % 2]?.take("same") ?? assert.fail()),
    );
    assert.equal(verdicts.filter(({ allowed }) => allowed).length, 50);
    assert.ok(verdicts.every(({ by }) => by === "store"));
  });

  it("counts by the time of the server, keeps no key longer than its window, and none of what it counts in plain", async () => {
    const store = await open({ keyPrefix: "plain" });
    await store.take({ ...ask, key: "alice@example.com" });
    const keys = await redis.ask("KEYS", "plain:*");
    const key = /plain:rate:\{a:60000:[\w-]{22}\}/.exec(keys)?.[0] ?? assert.fail(keys);
    assert.doesNotMatch(keys, /alice/);
    const ttl = Number((await redis.ask("PTTL", key)).slice(1));
    assert.ok(ttl > 0 && ttl <= 60_000, `${ttl}`);
    const uses = await redis.ask("HVALS", key);
    const atMs = Number(/1:(\d+)/.exec(uses)?.[1]);
    assert.ok(Math.abs(systemClock.now() - atMs) < 3_600_000, uses);
  });

  it("counts what is owed as used now, beyond the limit as well, and gives back what did not go", async () => {
    const store = await open({ keyPrefix: "owed" });
    assert.equal((await store.take({ ...ask, owed: 1 })).remaining, 1);
    await store.giveBack({ ...ask, cost: 1 });
    assert.equal((await store.take(ask)).remaining, 1, "one was given back");
    const over = await store.take({ ...ask, owed: 5 });
    assert.deepEqual([over.allowed, over.remaining], [false, 0]);
    await store.giveBack({ ...ask, cost: 100 });
    assert.equal((await store.take(ask)).remaining, 2, "no more comes back than was taken");
  });

  it("keeps its promise when the clock of the server is set back, and keeps nobody out for longer than a window", async () => {
    let nowMs = 1_767_225_600_000;
    const store = await open({ nowMs: () => nowMs, keyPrefix: "back" });
    for (let i = 0; i < 3; i++) await store.take(ask);
    nowMs -= 3_600_000;
    assert.deepEqual(await store.take(ask), { allowed: false, remaining: 0, retryAfterMs: 60_000, resetMs: 60_000 });
    nowMs += 59_999;
    assert.equal((await store.take(ask)).allowed, false);
    nowMs += 1;
    assert.equal((await store.take(ask)).allowed, true);
  });

  it("goes on when the server has forgotten keys and scripts", async () => {
    const store = await open({ keyPrefix: "forgotten" });
    for (let i = 0; i < 3; i++) await store.take(ask);
    assert.equal((await store.take(ask)).allowed, false);
    await redis.ask("SCRIPT", "FLUSH");
    assert.equal((await store.take(ask)).allowed, false, "sent again as a whole");
    await redis.ask("FLUSHALL");
    assert.equal((await store.take(ask)).remaining, 2, "the key is made anew");
  });

  it("uses a password, given or in a file that may be replaced, and is not ready with a wrong one", async () => {
    await using locked = await startRedis({ args: ["--requirepass", "right"] });
    const folder = mkdtempSync(join(tmpdir(), "plinth-redis-password-"));
    const passwordFile = join(folder, "password");
    writeFileSync(passwordFile, "wrong\n");
    const common = { url: new Secret(locked.url), clock: systemClock };
    const fromFile = await open({ ...common, passwordFile, connectTimeoutMs: 50 });
    assert.equal(fromFile.isReady, false);
    await assert.rejects(fromFile.take(ask));
    await until(() => fromFile.lastError !== undefined);
    assert.match(String(fromFile.lastError), /WRONGPASS/);
    writeFileSync(passwordFile, "right\n");
    await until(() => fromFile.isReady);
    assert.equal((await fromFile.take(ask)).allowed, true);
    const given = await open({ ...common, password: new Secret("right") });
    assert.equal((await given.take(ask)).allowed, true);
    rmSync(folder, { recursive: true });
  });

  it("has a span for each question below a sampled one, without what is counted, and none below others", async () => {
    const named: unknown[] = [];
    const spanOf = (sampled: boolean): Span => {
      const nothing = (): void => undefined;
      const methods = {
        setAttribute: nothing,
        setAttributes: nothing,
        rename: nothing,
        fail: nothing,
        setFailed: nothing,
      };
      return { traceId: "1".repeat(32), spanId: "1".repeat(16), sampled, end: nothing, ...methods };
    };
    const startSpan: Tracing["startSpan"] = (name, options) => {
      named.push([name, options?.kind, options?.attributes]);
      return spanOf(true);
    };
    const store = await open({ tracing: { ...createTracing(), startSpan }, keyPrefix: "spans" });
    await store.take({ ...ask, key: "alice" }, spanOf(true));
    await store.take(ask, spanOf(false));
    await store.take(ask);
    assert.deepEqual(named, [
      [
        "EVALSHA",
        "client",
        {
          "db.system.name": "redis",
          "db.namespace": "0",
          "db.operation.name": "EVALSHA",
          "server.address": "127.0.0.1",
          "server.port": redis.port,
        },
      ],
    ]);
  });

  it("finds the node of a key in a Cluster", async () => {
    // Of its own choice the port for other nodes is that for clients and 10 000, where connections of this machine have theirs.
    const [bus = 0] = await findFreePorts(1);
    await using node = await startRedis({ args: ["--cluster-enabled", "yes", "--cluster-port", String(bus)] });
    await node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
    await until(async () => (await node.ask("CLUSTER", "INFO")).includes("cluster_state:ok"));
    const store = await open({ url: node.url, cluster: true });
    const verdicts = await Promise.all(["a", "b", "c"].map((key) => store.take({ ...ask, key })));
    assert.ok(verdicts.every(({ allowed }) => allowed));
  });

  for (const [options, message] of [
    [{ url: "http://127.0.0.1" }, /^url must be redis:\/\//],
    [{ url: "redis://a:1,redis://b:1" }, /^url holds several addresses/],
    [{ url: "redis://a:1/1", cluster: true }, /^url names a database/],
    [{ url: "redis://a:1,rediss://b:1", cluster: true }, /^url holds addresses with TLS and without/],
    [{ url: "redis://a:1", tls: { serverName: "a" } }, /^tls is for rediss/],
    [{ url: "rediss://a:1", tls: { certFile: "a" } }, /^tls.certFile and tls.keyFile/],
    [{ url: "rediss://a:1", tls: { caFile: "/nowhere/ca.pem" } }, /^tls.caFile cannot be read/],
    [{ url: "redis://a:1", connectTimeoutMs: 1 }, /^connectTimeoutMs /],
  ] as const) {
    it(`refuses ${JSON.stringify(options)}`, async () => {
      await assert.rejects(openRedisRateStore(options), { code: "ERR_OPTION_RANGE", message });
    });
  }
});
