import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  coreModule,
  createApp,
  defineModule,
  errorBus,
  type Health,
  health,
  healthChecks,
  metrics,
  provider,
  token,
} from "@plinth/kernel";
import { MemoryLog, testApp } from "@plinth/kernel/testing";
import {
  createMemoryRegistry,
  createMemoryStore,
  type Endpoint,
  endpoints,
  type Registry,
  registry,
  registryModule,
  registryModuleOf,
} from "./index.ts";
import { ScriptedAgent, type ScriptedRequest, waitForSet } from "./testing/index.ts";

const limits = { timeout: 20_000 };
const http: Endpoint = { protocol: "http", host: "127.0.0.1", port: () => 3_000, readyPath: "/ready" };

function listening(...all: readonly Endpoint[]) {
  return defineModule(
    "listening",
    all.map((endpoint) => provider({ provides: endpoints, create: () => endpoint })),
  );
}

/** Apps of one process, and a registry that sees what they register. */
function shared(): { readonly module: typeof registryModule; readonly seen: Registry } {
  const store = createMemoryStore();
  return {
    module: registryModuleOf((context) => createMemoryRegistry({ ...context, store })),
    seen: createMemoryRegistry({ store }),
  };
}

const idsOf = async (seen: Registry, service: string): Promise<number> =>
  (await seen.resolve(service)).instances.length;

describe("registryModuleOf", limits, () => {
  it("registers an app with its endpoints once it is up, and finds other apps of the process", async () => {
    const { module, seen } = shared();
    const grpc: Endpoint = { protocol: "grpc", host: "0.0.0.0", port: () => 3_001 };
    const settings = { registry: { zone: "a", tags: ["t"], weight: 2 } };
    await using notes = await testApp({
      name: "notes",
      version: "1.2.3",
      modules: [coreModule, module, listening(http, grpc)],
      config: { defaults: settings },
    });
    await using gateway = await testApp({ name: "gateway", modules: [coreModule, module], expose: [registry] });
    const { instances } = await gateway.get(registry).resolve("notes");
    assert.equal(instances.length, 1);
    const [{ id, ...rest }] = [instances[0]!];
    assert.match(id, /^notes-[0-9a-f-]{36}$/);
    assert.deepEqual(rest, {
      service: "notes",
      host: "127.0.0.1",
      ports: { http: 3_000, grpc: 3_001 },
      version: "1.2.3",
      zone: "a",
      weight: 2,
      tags: ["t"],
      metadata: {},
      status: "passing",
    });
    assert.deepEqual(
      notes.logged.withMessage("registered").map(({ instance, host, ports }) => ({ instance, host, ports })),
      [{ instance: id, host: "127.0.0.1", ports: { http: 3_000, grpc: 3_001 } }],
    );
    assert.equal(await idsOf(seen, "gateway"), 0, "an app without endpoints is not registered");
  });

  it("leaves an endpoint out that host and port do not lead to, and says so; with no other, the app is not registered", async () => {
    const { module, seen } = shared();
    const apart: Endpoint = { protocol: "grpc", host: "127.0.0.1", port: () => 0, unusable: "it is on a path" };
    await using notes = await testApp({ name: "notes", modules: [coreModule, module, listening(apart, http)] });
    await using alone = await testApp({ name: "alone", modules: [coreModule, module, listening(apart)] });
    assert.deepEqual(
      (await seen.resolve("notes")).instances.map(({ ports }) => ports),
      [{ http: 3_000 }],
    );
    assert.equal(await idsOf(seen, "alone"), 0);
    for (const { logged } of [notes, alone]) {
      const [{ protocol, why, level } = {}] = logged.withMessage("endpoint not registered");
      assert.deepEqual({ protocol, why, level }, { protocol: "grpc", why: "it is on a path", level: "warn" });
    }
  });

  it("leaves first when the app stops, while everything still serves", async () => {
    const { module, seen } = shared();
    const order: string[] = [];
    const server = token("server").of<object>();
    const serving = defineModule("serving", [
      provider({
        provides: server,
        create: () => ({}),
        start: () => {},
        drain: async () => void order.push(`draining, ${await idsOf(seen, "notes")} registered`),
      }),
    ]);
    const app = await testApp({ name: "notes", modules: [coreModule, module, serving, listening(http)] });
    assert.equal(await idsOf(seen, "notes"), 1);
    await app.stop();
    assert.deepEqual(order, ["draining, 0 registered"]);
    assert.equal(app.logged.withMessage("deregistered").length, 1);
  });

  it("takes the entry back when another join fails, and closes its own registry only", async () => {
    const { module, seen } = shared();
    await using other = await testApp({ name: "other", modules: [coreModule, module, listening(http)] });
    const joined = waitForSet(seen, "notes", ({ instances }) => instances.length === 1);
    const failing = defineModule("failing", [
      provider({
        provides: token("late").of<object>(),
        create: () => ({}),
        join: async () => {
          await joined;
          throw new Error("no room");
        },
      }),
    ]);
    const app = createApp({
      name: "notes",
      modules: [coreModule, module, failing, listening(http)],
      config: { environment: {} },
      logDestination: new MemoryLog(),
    });
    await assert.rejects(app.start(), /no room/);
    assert.equal(await idsOf(seen, "notes"), 0);
    assert.equal(await idsOf(seen, "other"), 1);
    assert.equal(other.state, "ready");
  });

  it("shows the app only while its health says ready", async () => {
    const { seen, module } = shared();
    await using app = await testApp({
      name: "notes",
      modules: [coreModule, module, listening(http)],
      expose: [health],
      config: { defaults: { health: { intervalMs: 10 } } },
    });
    let isWell = true;
    app.get(health).register({
      name: "database",
      run: () => {
        if (!isWell) throw new Error("gone");
      },
    });
    isWell = false;
    await waitForSet(seen, "notes", ({ instances }) => instances.length === 0);
    isWell = true;
    await waitForSet(seen, "notes", ({ instances }) => instances.length === 1);
  });

  for (const [code, all] of [
    ["ERR_REGISTRY_ENDPOINT", [http, http]],
    ["ERR_REGISTRY_HOST", [http, { ...http, protocol: "grpc", host: "::1" }]],
  ] as const) {
    it(`does not start with endpoints that make no instance: ${code}`, async () => {
      const app = createApp({
        name: "notes",
        modules: [coreModule, shared().module, listening(...all)],
        config: { environment: {} },
        logDestination: new MemoryLog(),
      });
      await assert.rejects(app.start(), (error: Error) => JSON.stringify(causesOf(error)).includes(code));
    });
  }
});

/** Resolves when the app's health is this. */
async function untilState(own: Health, state: Health["state"]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const leave = own.onState((next) => next === state && resolve());
  if (own.state !== state) await promise;
  leave();
}

/** The codes of an error and of all that led to it. */
function causesOf(error: unknown): unknown[] {
  if (!(error instanceof Error)) return [];
  return [Reflect.get(error, "code"), ...causesOf(error.cause)];
}

describe("registryModule", limits, () => {
  const isHealth = ({ path }: ScriptedRequest): boolean => path === "/v1/health/service/peer";
  const isRegister = ({ path }: ScriptedRequest): boolean => path === "/v1/agent/service/register";

  it("is of this process alone unless told otherwise", async () => {
    const modules = [coreModule, registryModule, listening(http)] as const;
    await using one = await testApp({ name: "one", modules, expose: [registry] });
    await using two = await testApp({ name: "two", modules, expose: [registry] });
    assert.equal(await idsOf(one.get(registry), "one"), 1);
    assert.equal(await idsOf(two.get(registry), "one"), 0);
  });

  for (const form of ["http://127.0.0.1:PORT", "127.0.0.1:PORT"]) {
    it(`uses the Consul that PLINTH_CONSUL_ADDR names as ${form}, with its token and times`, async () => {
      await using agent = await ScriptedAgent.start(() => ({ index: 1, body: [] }));
      await using app = await testApp({
        name: "notes",
        modules: [coreModule, registryModule, listening(http)],
        config: {
          environment: {
            PLINTH_CONSUL_ADDR: form.replace("PORT", String(agent.port)),
            PLINTH_CONSUL_TOKEN: "s3cret",
            PLINTH_REGISTRY_CHECK: "http",
            PLINTH_REGISTRY_TTL_MS: "9000",
          },
        },
      });
      assert.equal(app.state, "ready");
      const request = agent.requests.find(isRegister);
      assert.equal(request!.headers["x-consul-token"], "s3cret");
      const { Checks: checks } = request!.body as { Checks: Record<string, unknown>[] };
      assert.equal(checks[0]!.TTL, "9000ms");
      assert.equal(checks[2]!.HTTP, "http://127.0.0.1:3000/ready");
      assert.equal(JSON.stringify(app.logged.lines).includes("s3cret"), false);
      assert.deepEqual(app.logged.withMessage("health check failed"), []);
      assert.equal(app.logged.withMessage("registered").length, 1);
    });
  }

  it("takes what the settings do not say of the connection from Consul's own variables", async () => {
    await using agent = await ScriptedAgent.start(() => ({ index: 1, body: [] }));
    await using app = await testApp({
      name: "notes",
      modules: [coreModule, registryModule],
      expose: [registry],
      config: {
        environment: {
          PLINTH_REGISTRY_DRIVER: "consul",
          PLINTH_CONSUL_DATACENTER: "eu",
          PLINTH_CONSUL_NAMESPACE: "ours",
          CONSUL_HTTP_ADDR: `127.0.0.1:${agent.port}`,
          CONSUL_HTTP_TOKEN: "s3cret",
          CONSUL_NAMESPACE: "theirs",
          CONSUL_PARTITION: "west",
        },
      },
    });
    await app.get(registry).resolve("peer");
    const { query, headers } = await agent.received(isHealth);
    assert.deepEqual([query.get("dc"), query.get("ns"), query.get("partition")], ["eu", "ours", "west"]);
    assert.equal(headers["x-consul-token"], "s3cret");
  });

  it("does not start with a variable of Consul's that makes no sense, and names it", async () => {
    const modules = [coreModule, registryModule] as const;
    const environment = { PLINTH_CONSUL_ADDR: "127.0.0.1:1", CONSUL_HTTP_SSL_VERIFY: "maybe" };
    await assert.rejects(
      testApp({ name: "notes", modules, expose: [registry], config: { environment } }),
      /CONSUL_HTTP_SSL_VERIFY must be true or false, not "maybe"/,
    );
  });

  it("finds what the config says, and follows it as it changes", async () => {
    const settings = { driver: "static", services: { notes: [{ host: "10.0.0.1", ports: { http: 3_000 } }] } };
    const source = {
      name: "test",
      load: () => Promise.resolve({ data: { registry: settings }, places: new Map<string, string>() }),
    };
    await using app = await testApp({
      name: "gateway",
      modules: [coreModule, registryModule],
      expose: [registry, metrics],
      config: { environment: {}, sources: [source] },
    });
    const view = app.get(registry).follow("notes");
    assert.deepEqual(
      view.current?.instances.map(({ id }) => id),
      ["notes@10.0.0.1:3000"],
    );
    settings.services = { notes: [{ host: "10.0.0.2", ports: { http: 3_000 } }] };
    assert.deepEqual(await app.config.reload(), { changed: ["registry.services.notes"] });
    assert.deepEqual(
      view.current?.instances.map(({ id }) => id),
      ["notes@10.0.0.2:3000"],
    );
    const { body } = await app.get(metrics).expose();
    assert.match(body, /^registry_instances_by_state\{service="notes",state="passing"\} 1$/m);
    assert.match(body, /^registry_instances_by_state\{service="notes",state="maintenance"\} 0$/m);
  });

  it("starts without Consul, degraded but ready, and tells", async () => {
    await using app = await testApp({
      name: "notes",
      modules: [coreModule, registryModule, listening(http)],
      expose: [health, metrics, errorBus],
      config: {
        environment: { PLINTH_CONSUL_ADDR: "127.0.0.1:1" },
        defaults: { health: { intervalMs: 10 }, registry: { ttlMs: 1_000 } },
      },
    });
    assert.equal(app.logged.withMessage("not registered yet; trying again in the background").length, 1);
    const [{ ttlMs, maxStallMs, level } = {}] = app.logged.withMessage(
      "heartbeats can stop for longer than registry.ttlMs while the app counts as alive",
    );
    assert.deepEqual([ttlMs, maxStallMs, level], [1_000, 10_000, "warn"]);
    await untilState(app.get(health), "degraded");
    const { ready, status, checks } = await app.get(health).readiness();
    assert.deepEqual([ready, status], [true, "warn"]);
    assert.deepEqual(
      checks.filter(({ name }) => name === "registry").map(({ status, output }) => [status, output]),
      [["warn", "failed"]],
    );
    const { body } = await app.get(metrics).expose();
    assert.match(body, /^registry_registrations\{state="pending"\} 1$/m);
    assert.match(body, /^registry_registration_errors_total \d+$/m);
  });

  it("measures what it follows, and reports an outage once", async () => {
    await using agent = await ScriptedAgent.start(() => ({ index: 1, body: [] }));
    await using app = await testApp({
      name: "gateway",
      modules: [coreModule, registryModule],
      expose: [registry, health, metrics, errorBus],
      config: { environment: {}, defaults: { consul: { addr: agent.address }, health: { intervalMs: 10 } } },
    });
    const reported = Promise.withResolvers<string>();
    app.get(errorBus).subscribe({ name: "test", report: ([first]) => reported.resolve(first?.error.code ?? "") });
    agent.play(({ query }) =>
      query.has("index")
        ? { status: 500, body: "No cluster leader" }
        : { index: 5, body: [{ Node: {}, Service: { ID: "x" } }] },
    );
    const view = app.get(registry).follow("peer");
    await view.ready;
    agent.play(() => ({ status: 500, body: "No cluster leader" }));
    assert.equal(await reported.promise, "ERR_REGISTRY_UNAVAILABLE");
    await agent.received(isHealth, 5);
    assert.equal(app.get(errorBus).stats().reported, 1);
    assert.equal(app.logged.withMessage("watch failing; the last known instances stay").length, 1);
    assert.equal(app.logged.withMessage("entries skipped").length, 1);
    const { body } = await app.get(metrics).expose();
    assert.match(body, /^registry_instances\{service="peer"\} 0$/m);
    assert.match(body, /^registry_set_stale\{service="peer"\} 1$/m);
    assert.match(body, /^registry_set_age_seconds\{service="peer"\} \d/m);
    assert.match(body, /^registry_watch_errors_total\{service="peer"\} [3-9]$/m);
    assert.match(body, /^registry_entries_skipped_total\{service="peer"\} 1$/m);
    const requests = (operation: string, outcome: string): RegExp =>
      new RegExp(
        `^registry_request_duration_seconds_count\\{operation="${operation}",outcome="${outcome}"\\} [1-9]\\d*$`,
        "m",
      );
    assert.match(body, requests("instances", "ok"));
    assert.match(body, requests("watch", "unavailable"));
    assert.match(body, /^registry_requests_in_flight\{operation="watch"\} [01]$/m);
    await untilState(app.get(health), "degraded");
    agent.play(() => ({ index: 6, body: [] }));
    await waitForSet(app.get(registry), "peer", ({ stale }) => !stale);
    await untilState(app.get(health), "ready");
    view.close();
    assert.match((await app.get(metrics).expose()).body, /^registry_set_stale\{service="peer"\} 0$/m);
  });

  it("tells Consul at once that the app is degraded, or not ready, and not with the next heartbeat", async () => {
    await using agent = await ScriptedAgent.start(() => ({}));
    const failing = new Set<string>();
    const check = (name: string, critical: boolean) =>
      provider({
        provides: healthChecks,
        create: () => ({
          name,
          critical,
          run: () => {
            if (failing.has(name)) throw new Error("down");
          },
        }),
      });
    const defaults = {
      consul: { addr: agent.address },
      registry: { ttlMs: 3_600_000 }, // heartbeats would come every quarter of an hour
      health: { intervalMs: 10, failuresToFlip: 1, successesToFlip: 1 },
    };
    await using app = await testApp({
      name: "notes",
      modules: [
        coreModule,
        registryModule,
        listening(http),
        defineModule("checks", [check("a", true), check("b", false)]),
      ],
      expose: [health],
      config: { environment: {}, defaults },
    });
    const told = (text: string): Promise<ScriptedRequest> =>
      agent.received(({ path, body }) => path.endsWith(":ready") && JSON.stringify(body).includes(`"${text}"`));
    await told("ready");
    failing.add("b");
    await told("degraded");
    failing.add("a");
    await told("not ready");
    assert.equal(app.get(health).state, "failing");
  });

  it("stops in order though the agent does not answer", async () => {
    await using agent = await ScriptedAgent.start(() => ({}));
    const app = await testApp({
      name: "notes",
      modules: [coreModule, registryModule, listening(http)],
      config: { environment: {}, defaults: { consul: { addr: agent.address, requestTimeoutMs: 100 } } },
    });
    agent.play(() => "hang");
    await app.stop();
    assert.equal(app.state, "stopped");
    const warnings = app.logged.lines.filter(
      ({ level, message }) => level === "warn" && String(message).includes("deregister"),
    );
    assert.equal(warnings.length, 1);
  });

  it("names the setting that is wrong", async () => {
    const app = createApp({
      name: "notes",
      modules: [coreModule, registryModule],
      config: { environment: { PLINTH_REGISTRY_DRIVER: "etcd", PLINTH_REGISTRY_DEREGISTER_AFTER_MS: "1000" } },
      logDestination: new MemoryLog(),
    });
    await assert.rejects(app.start(), /registry\.driver.*registry\.deregisterAfterMs/s);
  });
});
