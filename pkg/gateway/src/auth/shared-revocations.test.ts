import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { coreModule, createErrorBus, createMetrics } from "@plinth/kernel";
import { FakeClock, testApp, until } from "@plinth/kernel/testing";
import { createMemoryRegistry, createMemoryStore, registryModuleOf } from "@plinth/registry";
import { openRedisTexts, type SharedTexts, type TextChanges } from "@plinth/resilience";
import { opsModule } from "@plinth/transport";
import { Revocations, revocationText } from "@plinth/transport/jwt";
import { type Redis, startRedis } from "../../../../scripts/servers/index.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { gateway, gatewayModuleOf } from "../module.ts";
import { signingKey, tokenOf } from "../testing/issuer.ts";
import { startGateway, type TestGateway } from "../testing/kit.ts";
import { SharedRevocations } from "./shared-revocations.ts";

const es = signingKey("es");
const document: GatewayDocument = {
  jwt: { test: { issuer: "test-issuer", audiences: ["test"], jwks: { keys: [es.jwk] } } },
  routes: [{ name: "all", match: { path: "/**" }, service: "none", auth: {} }],
};

/** Whether it refuses the token; else it has no instance to send the request to. */
async function refuses(running: TestGateway, token: string): Promise<boolean> {
  const reply = await fetch(running.url, { headers: { authorization: `Bearer ${token}` } });
  const reason = Reflect.get(Object(await reply.json()), "reason");
  assert.ok(reason === "token_invalid" || reason === "no_instance", String(reason));
  return reason === "token_invalid";
}

function scripted(changesSince: SharedTexts["changesSince"]): SharedTexts {
  return {
    name: "scripted",
    lastError: undefined,
    add: async () => 0,
    remove: async () => {},
    changesSince,
    close: async () => {},
  };
}

describe("revocations that gateways share", () => {
  let redis: Redis;
  const ends: (() => Promise<void>)[] = [];
  before(async () => (redis = await startRedis()));
  after(() => redis.stop());
  afterEach(async () => {
    for (const end of ends.splice(0).toReversed()) await end();
    await redis.ask("FLUSHALL");
  });

  /** Closed in the test, or after it. */
  async function start(max?: number): Promise<TestGateway & { readonly store: SharedTexts }> {
    const store = await openRedisTexts({ url: redis.url, connectTimeoutMs: 20_000, list: "revocations", max });
    const running = await startGateway({ document, settings: { revocationPollMs: 20 }, revocationStore: store });
    ends.push(
      () => store.close(),
      () => running.gateway.close(),
    );
    return { ...running, store };
  }

  it("reach the others by jti, subject and issue time, are taken back there, and are known to one that starts later", async () => {
    const [one, other] = [await start(), await start()];
    const now = Math.floor(Date.now() / 1e3);
    const [byJti, bySubject, byTime] = [
      tokenOf(es, { jti: "t1" }),
      tokenOf(es, { sub: "bob" }),
      tokenOf(es, { sub: "eve", iat: now - 10 }),
    ];
    const all = [byJti, bySubject, byTime];
    for (const token of all) assert.equal(await refuses(other, token), false);
    one.gateway.revocations.add({ jti: "t1", untilMs: Date.now() + 3_600_000 });
    one.gateway.revocations.add({ subject: "bob", issuer: "test-issuer" });
    one.gateway.revocations.add({ issuedBeforeMs: (now - 5) * 1e3 });
    for (const token of all) await until(() => refuses(other, token));
    assert.equal(await refuses(other, tokenOf(es, { jti: "t2", sub: "eve", iat: now })), false);
    assert.equal(other.gateway.revocations.remove({ subject: "bob", issuer: "test-issuer" }), true);
    await until(async () => !(await refuses(one, bySubject)));
    const third = await start();
    assert.deepEqual(
      [await refuses(third, byJti), await refuses(third, bySubject), await refuses(third, byTime)],
      [true, false, true],
      "from its first request on",
    );
    assert.match(await one.metrics(), /^gateway_revocations_unshared 0$/m);
    assert.match(await one.metrics(), /^gateway_revocation_rounds_total\{outcome="ok"\} [1-9]/m);
    assert.equal(one.gateway.isRevocationStoreDegraded, false);
  });

  it("are shared by every gateway whose settings name a Redis", async () => {
    const store = createMemoryStore();
    const startApp = () =>
      testApp({
        name: "gateway",
        modules: [
          coreModule,
          opsModule,
          registryModuleOf((context) => createMemoryRegistry({ ...context, store })),
          gatewayModuleOf(document),
        ],
        expose: [gateway],
        config: { overrides: { gateway: { port: 0 }, ops: { port: 0 }, redis: { url: redis.url, keyPrefix: "app" } } },
      });
    await using one = await startApp();
    await using other = await startApp();
    one.get(gateway).revocations.add({ jti: "t1" });
    await until(() => other.get(gateway).revocations.size === 1);
    assert.equal(await redis.ask("ZCARD", "app:{revocations}:until"), ":1");
  });

  it("are told before a gateway ends, and outlast it", async () => {
    const one = await start();
    one.gateway.revocations.add({ jti: "t1" });
    one.gateway.revocations.add({ jti: "t2" });
    await one.gateway.close();
    const other = await start();
    assert.equal(await refuses(other, tokenOf(es, { jti: "t1" })), true);
    assert.equal(await refuses(other, tokenOf(es, { jti: "t2" })), true);
  });

  it("are put back where they have been forgotten, but for those that were taken back", async () => {
    const [one, other] = [await start(), await start()];
    for (const jti of ["t1", "t2"]) one.gateway.revocations.add({ jti });
    await until(() => other.gateway.revocations.size === 2);
    other.gateway.revocations.remove({ jti: "t2" });
    await until(() => one.gateway.revocations.size === 1);
    await redis.ask("FLUSHALL");
    await until(async () => (await redis.ask("ZCARD", "plinth:{revocations}:until")) === ":1");
    const third = await start();
    assert.equal(await refuses(third, tokenOf(es, { jti: "t1" })), true);
    assert.equal(await refuses(third, tokenOf(es, { jti: "t2" })), false);
  });

  it("hold where they were made while the store hangs, delay no request, and are shared when it answers again", async () => {
    const [one, other] = [await start(), await start()];
    const token = tokenOf(es, { jti: "t1" });
    await redis.kill("SIGSTOP");
    try {
      one.gateway.revocations.add({ jti: "t1" });
      assert.equal(await refuses(one, token), true);
      assert.equal(await refuses(other, token), false, "it cannot know");
      assert.match(await one.metrics(), /^gateway_revocations_unshared 1$/m);
    } finally {
      await redis.kill("SIGCONT");
    }
    await until(() => refuses(other, token));
  });

  it("are read anew as a whole after an answer that did not come, and otherwise from where they were read to", async () => {
    const asked: number[] = [];
    let isAway = false;
    const store = scripted(async (since) => {
      asked.push(since);
      if (isAway) throw new Error("away");
      return { changes: [], next: 7, head: 7 };
    });
    await using _running = await startGateway({ document, settings: { revocationPollMs: 20 }, revocationStore: store });
    await until(() => asked.length >= 3);
    assert.deepEqual(asked.slice(0, 3), [0, 7, 7]);
    isAway = true;
    const before = asked.length;
    await until(() => asked.length > before + 1);
    isAway = false;
    const back = asked.length;
    await until(() => asked.length > back + 1);
    assert.deepEqual(asked.slice(before, back + 2), [7, ...Array.from({ length: back - before }, () => 0), 7]);
  });

  it("are waited for before a gateway listens", async () => {
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<TextChanges>();
    const store = scripted(() => {
      asked.resolve();
      return answer.promise;
    });
    let isUp = false;
    const starting = startGateway({ document, revocationStore: store, clock: new FakeClock() });
    void starting.then(() => (isUp = true));
    await asked.promise;
    for (let turn = 0; turn < 50; turn++) await setImmediate();
    assert.equal(isUp, false);
    answer.resolve({ changes: [{ op: "add", text: revocationText({ jti: "t1" }) }], next: 7, head: 7 });
    await using running = await starting;
    assert.equal(running.gateway.revocations.size, 1);
  });

  it("that are made while others are read hold against what was taken back before", async () => {
    const clock = new FakeClock();
    const answer = Promise.withResolvers<TextChanges>();
    const [t1, t2] = [revocationText({ jti: "t1" }), revocationText({ jti: "t2" })];
    const revocations = new Revocations({ clock });
    const shared = new SharedRevocations({
      store: scripted(() => answer.promise),
      revocations,
      pollMs: 20,
      clock,
      metrics: createMetrics(),
      log: undefined,
      errors: createErrorBus({ clock }),
    });
    shared.start();
    revocations.add({ jti: "t1" });
    const changes = [{ op: "remove", text: t1 } as const, { op: "add", text: t2 } as const];
    answer.resolve({ changes, next: 7, head: 7 });
    await shared.whole;
    assert.deepEqual(
      revocations.added().map((each) => revocationText(each)),
      [t1, t2],
    );
    await shared.close();
  });

  it("beyond what there may be hold where they were made, which is told; what cannot be read is passed over and counted", async () => {
    const one = await start(1);
    await one.store.add([{ text: "not ours" }]);
    await until(async () => /outcome="unreadable"\} [1-9]/.test(await one.metrics()));
    one.gateway.revocations.add({ jti: "t1" });
    await until(async () => /outcome="full"\} [1-9]/.test(await one.metrics()));
    assert.equal(await refuses(one, tokenOf(es, { jti: "t1" })), true);
    assert.equal(one.log.withMessage("there are too many shared revocations").length, 1);
  });
});
