import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, beforeEach, describe, it } from "node:test";
import { type AppHealth, coreModule, defineModule, health, provider } from "@plinth/kernel";
import { testApp } from "@plinth/kernel/testing";
import { type ConsulAgent, startConsul } from "../../../../scripts/servers/index.ts";
import { type Endpoint, endpoints } from "../endpoints.ts";
import { registry, registryModule } from "../module.ts";
import type { InstanceSet, Registry, RegistryEvent } from "../registry.ts";
import { waitForSet } from "../testing/index.ts";
import { type ConsulRegistryOptions, createConsulRegistry } from "./consul-registry.ts";

const heartbeatMs = 500;

let agent: ConsulAgent;
let service: string;
let tests = 0;
before(async () => {
  agent = await startConsul();
});
after(() => agent.stop());
beforeEach(() => {
  service = `notes-${++tests}`;
});

interface Opened extends AsyncDisposable {
  readonly own: Registry;
  readonly events: RegistryEvent[];
  /** Resolves with the first event that `isRight` accepts, from the first on. */
  told(isRight: (event: RegistryEvent) => boolean, count?: number): Promise<RegistryEvent>;
}

function open(options: ConsulRegistryOptions = {}): Opened {
  const events: RegistryEvent[] = [];
  let next = Promise.withResolvers<void>();
  const own = createConsulRegistry({
    address: agent.address,
    ttlMs: heartbeatMs * 3,
    waitMs: 1_000,
    requestTimeoutMs: 500,
    emptyConfirmMs: 3_000,
    maxRequestsPerSecond: 20,
    maxBackoffMs: 200,
    onEvent: (event) => {
      events.push(event);
      next.resolve();
      next = Promise.withResolvers();
    },
    ...options,
  });
  return {
    own,
    events,
    async told(isRight, count = 1) {
      for (;;) {
        const found = events.filter(isRight)[count - 1];
        if (found) return found;
        await next.promise;
      }
    },
    [Symbol.asyncDispose]: () => own.close(),
  };
}

const instanceOf = (id: string) => ({ service, id, host: "127.0.0.1", ports: { http: 3_000 } });
const idsOf = ({ instances }: InstanceSet): string => instances.map(({ id }) => id).join();
const isRegistered = (event: RegistryEvent): boolean => event.type === "registration" && event.state === "registered";
const isFailing = ({ type }: RegistryEvent): boolean => type === "watch_failed";
const isRecovered = ({ type }: RegistryEvent): boolean => type === "watch_recovered";

/** Every set that a watcher is shown from the first on, which it has when this resolves, until `stop`. */
async function record(registry: Registry): Promise<{ readonly sets: InstanceSet[]; stop(): Promise<void> }> {
  const sets: InstanceSet[] = [];
  const over = new AbortController();
  const view = registry.follow(service);
  await view.ready;
  const reading = (async () => {
    for await (const set of registry.watch(service, { signal: over.signal })) sets.push(set);
  })();
  return {
    sets,
    async stop() {
      over.abort();
      await reading;
      view.close();
    },
  };
}

async function agentServices(): Promise<string[]> {
  const response = await fetch(`${agent.address}/v1/agent/services`);
  return Object.values((await response.json()) as Record<string, { ID: string; Service: string }>)
    .filter((entry) => entry.Service === service)
    .map(({ ID }) => ID);
}

describe("with a real agent", { timeout: 50_000 }, () => {
  for (const [what, wipe] of [
    ["wiped", true],
    ["not wiped", false],
  ] as const) {
    it(`comes back within a heartbeat after a restart, ${what}, once each, and is never seen to be gone`, async () => {
      await using server = open();
      await using client = open();
      await server.own.register(instanceOf("a-1"));
      await server.own.register(instanceOf("a-2"));
      await waitForSet(client.own, service, (set) => idsOf(set) === "a-1,a-2");
      const seen = await record(client.own);
      await agent.restart({ wipe });
      const restartedAtMs = performance.now();
      await server.told(isRegistered, 4);
      const tookMs = performance.now() - restartedAtMs;
      assert.ok(tookMs < heartbeatMs + 500, `registered again ${Math.round(tookMs)} ms after the restart`);
      await waitForSet(client.own, service, (set) => !set.stale && idsOf(set) === "a-1,a-2");
      await seen.stop();
      assert.deepEqual(
        seen.sets.filter(({ instances }) => instances.length === 0),
        [],
      );
      assert.deepEqual((await agentServices()).toSorted(), ["a-1", "a-2"]);
      assert.ok(client.events.some(isFailing) && client.events.some(isRecovered));
    });
  }

  it("keeps the last instances while the agent is away, and says so", async () => {
    await using server = open();
    await using client = open();
    await server.own.register(instanceOf("a-1"));
    const view = client.own.follow(service);
    await waitForSet(client.own, service, (set) => idsOf(set) === "a-1");
    const before = view.current!;
    await agent.kill("SIGKILL");
    await client.told(isFailing, 3);
    await server.told(({ type }) => type === "registration_failed", 2);
    assert.deepEqual(
      [idsOf(view.current!), view.current!.stale, view.current!.revision],
      ["a-1", true, before.revision],
    );
    assert.equal(view.current!.instances, before.instances);
    const ageMs = view.current!.ageMs;
    assert.ok(ageMs > 0 && view.current!.ageMs >= ageMs);
    assert.equal(await client.own.resolve(service), view.current);
    await assert.rejects(client.own.resolve("unknown"), { code: "ERR_REGISTRY_UNAVAILABLE", message: /ECONNREFUSED/ });
    const late = client.own.follow(`${service}-late`);
    assert.equal(late.current, undefined);
    assert.deepEqual(
      server.own.stats().registrations.map(({ state, error }) => [state, error?.code]),
      [["lost", "ERR_REGISTRY_UNAVAILABLE"]],
    );
    await agent.restart({ wipe: true });
    const back = await waitForSet(client.own, service, (set) => !set.stale);
    assert.deepEqual([idsOf(back), back.revision], ["a-1", before.revision]);
    await late.ready;
    assert.ok(view.current!.ageMs < ageMs + 5_000);
  });

  it("gives up on an agent that hangs, keeps the last instances, and recovers", async () => {
    await using server = open();
    await using client = open();
    await server.own.register(instanceOf("a-1"));
    await waitForSet(client.own, service, (set) => idsOf(set) === "a-1");
    const seen = await record(client.own);
    await agent.kill("SIGSTOP");
    try {
      const failed = await client.told(isFailing);
      assert.ok(failed.type === "watch_failed" && failed.error.code === "ERR_REGISTRY_TIMEOUT");
      const unconfirmed = await server.told(({ type }) => type === "registration_failed");
      assert.ok(unconfirmed.type === "registration_failed" && unconfirmed.error.code === "ERR_REGISTRY_TIMEOUT");
    } finally {
      await agent.kill("SIGCONT");
    }
    await server.told(isRegistered, 2);
    await waitForSet(client.own, service, (set) => !set.stale && idsOf(set) === "a-1");
    await seen.stop();
    assert.deepEqual(
      seen.sets.filter(({ instances }) => instances.length === 0),
      [],
    );
  });

  for (const [what, options, withinMs] of [
    ["its heartbeats have stopped", { ttlMs: 900, check: "ttl" }, 4_000],
    ["the agent cannot connect to it", { ttlMs: 600_000, check: "tcp", checkIntervalMs: 200 }, 4_000],
    ["the agent cannot ask it", { ttlMs: 600_000, check: "http", checkIntervalMs: 200 }, 4_000],
  ] as const) {
    it(`no longer shows a process killed by SIGKILL once ${what}`, async () => {
      await using client = open({ emptyConfirmMs: 0 });
      await using stays = open(options.check === "ttl" ? {} : { check: "ttl" });
      await stays.own.register(instanceOf("a-1"));
      const child = await startService({ ...options, address: agent.address });
      try {
        await waitForSet(client.own, service, (set) => idsOf(set) === "a-1,killed");
        child.kill("SIGKILL");
        const killedAtMs = performance.now();
        await waitForSet(client.own, service, (set) => idsOf(set) === "a-1", { withinMs });
        assert.ok(performance.now() - killedAtMs < withinMs);
      } finally {
        child.kill("SIGKILL");
      }
      await fetch(`${agent.address}/v1/agent/service/deregister/killed`, { method: "PUT" });
    });
  }

  it("puts an entry back that someone else has removed", async () => {
    await using server = open();
    await using client = open();
    await server.own.register(instanceOf("a-1"));
    await waitForSet(client.own, service, (set) => idsOf(set) === "a-1");
    await fetch(`${agent.address}/v1/agent/service/deregister/a-1`, { method: "PUT" });
    await server.told(isRegistered, 2);
    await waitForSet(client.own, service, (set) => !set.stale && idsOf(set) === "a-1");
  });

  it("registers with an agent that comes up later", async () => {
    await agent.kill("SIGKILL");
    await using server = open();
    const registration = await server.own.register(instanceOf("a-1"));
    assert.equal(registration.state, "pending");
    await agent.restart();
    await server.told(isRegistered);
    assert.deepEqual(await agentServices(), ["a-1"]);
  });

  it("stays ready, only degraded, in an app whose agent goes away, hangs and comes back with nothing", async () => {
    const states: string[] = [];
    const endpoint: Endpoint = { protocol: "http", host: "127.0.0.1", port: () => 3_000 };
    const listening = defineModule("listening", [provider({ provides: endpoints, create: () => endpoint })]);
    await using app = await testApp({
      name: service,
      modules: [coreModule, registryModule, listening],
      expose: [registry, health],
      config: {
        environment: { PLINTH_CONSUL_ADDR: agent.address },
        defaults: { health: { intervalMs: 10 }, registry: { ttlMs: 1_000 }, consul: { requestTimeoutMs: 300 } },
      },
    });
    const own = app.get(health);
    const became = async (state: AppHealth): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const leave = own.onState((next) => next === state && resolve());
      if (own.state !== state) await promise;
      leave();
    };
    const view = app.get(registry).follow(service);
    await waitForSet(app.get(registry), service, ({ instances }) => instances.length === 1);
    await became("ready");
    own.onState((state) => void states.push(state));
    const outage = async (begin: () => Promise<unknown>, end: () => Promise<unknown>): Promise<void> => {
      await begin();
      try {
        await became("degraded");
        const { ready, status } = await own.readiness();
        assert.deepEqual([ready, status], [true, "warn"]);
        assert.equal(view.current?.instances.length, 1, "what was known is used on");
      } finally {
        await end();
      }
      await became("ready");
    };
    await outage(
      () => agent.kill("SIGSTOP"),
      () => agent.kill("SIGCONT"),
    );
    await outage(
      () => agent.kill("SIGKILL"),
      () => agent.restart({ wipe: true }),
    );
    view.close();
    assert.deepEqual(new Set(states), new Set(["degraded", "ready"]), "and never anything else");
    assert.equal((await agentServices()).length, 1);
  });

  it("leaves nothing in the agent when closed", async () => {
    const server = open();
    await server.own.register(instanceOf("a-1"));
    await server.own.register(instanceOf("a-2"));
    await server.own.close();
    assert.deepEqual(await agentServices(), []);
  });
});

/** A process that listens, registers itself as `killed`, and lives until it is killed or this one ends. */
async function startService(options: ConsulRegistryOptions): Promise<{ kill(signal: NodeJS.Signals): void }> {
  const code = `
    import { createServer } from "node:http";
    process.stdin.resume().on("end", () => process.exit());
    import { createConsulRegistry } from ${JSON.stringify(import.meta.resolve("./consul-registry.ts"))};
    const server = createServer((request, response) => response.end("ready")).listen(0, "127.0.0.1", async () => {
      const registry = createConsulRegistry(${JSON.stringify(options)});
      const instance = { service: ${JSON.stringify(service)}, id: "killed", host: "127.0.0.1", ports: { http: server.address().port } };
      await registry.register(instance, { readyPath: "/ready" });
      process.stdout.write("registered");
    });`;
  const child = spawn(process.execPath, ["--conditions=plinth-source", "--input-type=module", "--eval", code], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}
