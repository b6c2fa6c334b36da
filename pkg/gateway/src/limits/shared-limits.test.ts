import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { coreModule } from "@plinth/kernel";
import { testApp, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, registryModuleOf } from "@plinth/registry";
import type { RateAsk, RateStore, RateVerdict } from "@plinth/resilience";
import { opsModule } from "@plinth/transport";
import { type Redis, startRedis } from "../../../../scripts/servers/index.ts";
import { gateway, gatewayModuleOf } from "../module.ts";
import { echo, httpInstance, openRoute, type Scripted, startGateway } from "../testing/kit.ts";

/** A store whose answers the test gives, one for each limit. */
class TestStore implements RateStore {
  readonly name = "test";
  readonly isReady = true;
  readonly lastError = undefined;
  readonly answers = new Map<string, "fails" | "refuses">();
  readonly taken: string[] = [];

  async take({ name, limit }: RateAsk): Promise<RateVerdict> {
    const answer = this.answers.get(name);
    if (answer === "fails") throw new Error("down");
    if (answer === "refuses") return { allowed: false, remaining: 0, retryAfterMs: 7_000, resetMs: 9_000 };
    this.taken.push(name);
    return { allowed: true, remaining: limit - 1, retryAfterMs: 0, resetMs: 1_000 };
  }

  async giveBack({ name }: RateAsk): Promise<void> {
    this.taken.splice(this.taken.indexOf(name), 1);
  }

  async close(): Promise<void> {}
}

describe("limits that gateways share", () => {
  let instance: Scripted;
  before(async () => (instance = await httpInstance(echo)));
  after(() => instance.close());

  const limit = { limit: 10, windowMs: 60_000, by: "address" } as const;

  it("take nothing anywhere when one of several refuses, here or in the store", async () => {
    const store = new TestStore();
    const rateLimits = { one: limit, two: limit, here: { ...limit, limit: 1, shared: false } };
    await using running = await startGateway({
      document: { rateLimits, routes: [openRoute({ rateLimit: ["one", "two", "here"] })] },
      limitStore: { store, deadlineMs: 10_000 },
    });
    await running.add(instance);
    store.answers.set("two", "refuses");
    const refused = await fetch(running.url);
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [429, "7"]);
    assert.equal(refused.headers.get("ratelimit"), '"two";r=0;t=9');
    assert.deepEqual(store.taken, [], "what one had taken is given back");
    store.answers.clear();
    assert.equal((await fetch(running.url)).status, 200, "the one here had lost nothing");
    assert.deepEqual(store.taken, ["one", "two"]);
    assert.equal((await fetch(running.url)).status, 429);
    assert.deepEqual(store.taken, ["one", "two"], "nobody was asked");
  });

  it("go by what each says of a store that fails: all, nothing, or a share by the gateways there are", async () => {
    const store = new TestStore();
    const names = ["open", "closed", "localShare"] as const;
    const rateLimits = Object.fromEntries(
      names.map((name) => [name.toLowerCase(), { ...limit, onStoreFailure: name }]),
    );
    for (const name of Object.keys(rateLimits)) store.answers.set(name, "fails");
    await using running = await startGateway({
      document: {
        rateLimits,
        routes: Object.keys(rateLimits).map((name) =>
          openRoute({ name, match: { path: `/${name}` }, rateLimit: name }),
        ),
      },
      limitStore: { store, deadlineMs: 10_000, gateways: () => 4 },
    });
    await running.add(instance);
    const ask = async (path: string): Promise<number> => (await fetch(running.url + path)).status;
    assert.equal(await ask("/open"), 200);
    const refused = await fetch(`${running.url}/closed`);
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "1"]);
    assert.match(await refused.text(), /"reason":"limits_unavailable".*"retryable":true/);
    assert.deepEqual(
      [await ask("/localshare"), await ask("/localshare"), await ask("/localshare")],
      [200, 200, 429],
      "ten by four are two",
    );
    assert.equal(running.gateway.isLimitStoreDegraded, true);
    await ask("/open");
    const warnings = running.log.withMessage("limits go without the store that gateways share");
    assert.deepEqual(
      warnings.map(({ cause }) => cause),
      ["down"],
      "said once",
    );
    const metrics = await running.metrics();
    assert.match(metrics, /gateway_rate_limit_store_degraded 1/);
    assert.match(metrics, /gateway_rate_limit_events_total\{policy="closed",event="unavailable"\} 1/);
    assert.match(metrics, /gateway_rate_limit_events_total\{policy="localshare",event="share"\} 3/);
  });
});

describe("two gateways with one Redis", () => {
  let redis: Redis;
  before(async () => (redis = await startRedis()));
  after(() => redis.stop());

  it("let no more through together than one would, know of each other by the registry, and tell of a lost Redis", async () => {
    await using instance = await httpInstance(echo);
    const memory = createMemoryStore();
    const registry = createMemoryRegistry({ store: memory });
    await registry.register({ service: "s", id: "s-1", host: "127.0.0.1", ports: { http: instance.port } });
    const route = openRoute({ rateLimit: { limit: 20, windowMs: 3_600_000, by: { header: "x-client" } } });
    const start = () =>
      testApp({
        name: "gateway",
        modules: [
          coreModule,
          opsModule,
          registryModuleOf((context) => createMemoryRegistry({ ...context, store: memory })),
          gatewayModuleOf({ routes: [route] }),
        ],
        expose: [gateway],
        config: {
          overrides: {
            gateway: { port: 0 },
            ops: { port: 0 },
            redis: { url: redis.url, deadlineMs: 10_000, connectTimeoutMs: 20_000 },
          },
        },
      });
    await using first = await start();
    {
      await using second = await start();
      const urls = [first, second].map((app) => `http://127.0.0.1:${app.get(gateway).port}`);
      const replies = await Promise.all(Array.from({ length: 50 }, (_, at) => fetch(urls[at % 2] ?? "")));
      assert.equal(replies.filter(({ status }) => status === 200).length, 20);
      assert.equal((await registry.resolve("gateway")).instances.length, 2);
    }
    await until(async () => (await registry.resolve("gateway")).instances.length === 1);
    await redis.kill("SIGKILL");
    await until(() => first.get(gateway).isLimitStoreDegraded);
    const ask = (headers: Record<string, string>) =>
      fetch(`http://127.0.0.1:${first.get(gateway).port}`, { headers }).then(({ status }) => status);
    assert.equal(await ask({ "x-client": "another" }), 200, "by its share");
  });
});
