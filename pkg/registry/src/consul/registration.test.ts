import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Readiness, Registration } from "../registry.ts";
import { ScriptedAgent, type ScriptedAnswer, type ScriptedRequest } from "../testing/index.ts";
import {
  failing,
  fine,
  instance,
  isAlive,
  isDeregister,
  isReadyCheck,
  isRegister,
  kept,
} from "../testing/kept-registry.ts";
import { type ConsulRegistryOptions, createConsulRegistry } from "./consul-registry.ts";

const limits = { timeout: 20_000 };

/** What the process is warned of until the returned function is called. */
function warnings(): () => string[] {
  const told: string[] = [];
  const onWarning = ({ message }: Error): void => void told.push(message);
  process.on("warning", onWarning);
  return () => {
    process.off("warning", onWarning);
    return told;
  };
}

describe("a registration in Consul", limits, () => {
  it("is kept also when whoever listens to it throws, which is a warning", async () => {
    const told = warnings();
    await using test = await kept(fine, {
      onEvent: ({ type }) => {
        throw new TypeError(`no ${type}`);
      },
    });
    const registration = await test.own.register(instance);
    assert.equal(registration.state, "registered");
    await test.agent.received(isAlive, 3);
    await test.own.close();
    assert.equal(registration.state, "left");
    const [first, ...others] = told();
    assert.equal(first, "onEvent of the registry threw at request_begun: no request_begun");
    assert.ok(others.some((text) => text === "onEvent of the registry threw at registration: no registration"));
  });

  for (const [what, answer, outcome] of [
    ["refuses the token", { status: 403 }, "denied"],
    ["refuses the entry", { status: 400 }, "rejected"],
    ["has no leader", { status: 500 }, "unavailable"],
    ["does not answer", "hang", "timeout"],
    ["cuts the connection", "cut", "unreachable"],
  ] as const) {
    it(`tells that a request ended as "${outcome}" when the agent ${what}`, async () => {
      await using test = await kept(failing(isRegister, answer, 1));
      await test.own.register(instance).catch(() => "rejected");
      const requests = test.events.flatMap((event) =>
        event.type === "request_begun" || event.type === "request_ended" ? [event] : [],
      );
      assert.partialDeepStrictEqual(requests.slice(0, 2), [
        { type: "request_begun", operation: "register" },
        { type: "request_ended", operation: "register", outcome },
      ]);
    });
  }

  it("is one service with its ports, and checks for life and readiness", async () => {
    await using test = await kept(fine, { ttlMs: 15_000 });
    await test.own.register({
      ...instance,
      version: "1.0.0",
      zone: "a",
      weight: 3,
      tags: ["t"],
      metadata: { team: "core" },
    });
    const [register, alive, ready] = test.agent.requests;
    assert.equal(register!.method, "PUT");
    assert.deepEqual(Object.fromEntries(register!.query), { "replace-existing-checks": "true" });
    assert.deepEqual(register!.body, {
      ID: "notes-1",
      Name: "notes",
      Address: "10.1.2.3",
      Port: 3_000,
      Tags: ["t"],
      Meta: {
        team: "core",
        "plinth-http-port": "3000",
        "plinth-grpc-port": "3001",
        "plinth-version": "1.0.0",
        "plinth-zone": "a",
      },
      Weights: { Passing: 3, Warning: 3 },
      Checks: [
        {
          CheckID: "notes-1:alive",
          Name: "heartbeat of the process",
          TTL: "15000ms",
          Status: "passing",
          DeregisterCriticalServiceAfter: "60000ms",
        },
        { CheckID: "notes-1:ready", Name: "readiness as the process says", TTL: "15000ms", Status: "passing" },
      ],
    });
    assert.deepEqual(
      [alive!.path, alive!.body],
      ["/v1/agent/check/update/notes-1:alive", { Status: "passing", Output: "heartbeats arrive" }],
    );
    assert.deepEqual(
      [ready!.path, ready!.body],
      ["/v1/agent/check/update/notes-1:ready", { Status: "passing", Output: "ready" }],
    );
  });

  const probes = [
    ["http", { HTTP: "http://10.1.2.3:3000/ready", Method: "HEAD", Name: "HEAD /ready" }, instance],
    ["tcp", { TCP: "10.1.2.3:3000", Name: "TCP connect" }, instance],
    ["tcp", { TCP: "[fd00::1]:3001", Name: "TCP connect" }, { ...instance, host: "fd00::1", ports: { grpc: 3_001 } }],
  ] as const;
  for (const [check, expected, given] of probes) {
    it(`lets the agent look for itself by ${JSON.stringify(expected)}`, async () => {
      await using test = await kept(fine, { check, checkIntervalMs: 500 });
      await test.own.register(given, { readyPath: "/ready" });
      const { Checks: checks } = test.agent.requests[0]!.body as { Checks: unknown[] };
      assert.deepEqual(checks[2], {
        CheckID: "notes-1:probe",
        Status: "passing",
        Interval: "500ms",
        Timeout: "5000ms",
        ...expected,
      });
    });
  }

  const named = { ...instance, identity: "notes-1" };
  for (const [check, tls, expected] of [
    ["http", [], { HTTP: "http://10.1.2.3:3000/ready", Header: { "plinth-instance": ["notes-1"] } }],
    ["http", ["http"], { HTTP: "https://10.1.2.3:3000/ready", TLSSkipVerify: true }],
    ["http", ["grpc"], { HTTP: "http://10.1.2.3:3000/ready", TLSSkipVerify: undefined }],
    ["grpc", [], { GRPC: "10.1.2.3:3001/plinth.instance/notes-1", GRPCUseTLS: undefined, TLSSkipVerify: undefined }],
    ["grpc", ["grpc"], { GRPC: "10.1.2.3:3001/plinth.instance/notes-1", GRPCUseTLS: true, TLSSkipVerify: true }],
  ] as const) {
    it(`lets the agent name the instance over ${check} where ${tls.join() || "nothing"} speaks TLS`, async () => {
      await using test = await kept(fine, { check });
      await test.own.register(named, { readyPath: "/ready", tls });
      const { Checks: checks } = test.agent.requests[0]!.body as { Checks: Record<string, unknown>[] };
      for (const [field, value] of Object.entries(expected)) assert.deepEqual(checks[2]![field], value, field);
    });
  }

  it("refuses the check http for an instance that has nothing to ask", async () => {
    await using test = await kept(fine, { check: "http" });
    await assert.rejects(test.own.register(instance), {
      code: "ERR_REGISTRY_CHECK",
      message: /use the check grpc, tcp or ttl/,
    });
    const onlyGrpc = { ...instance, ports: { grpc: 3_001 } };
    await assert.rejects(test.own.register(onlyGrpc, { readyPath: "/ready" }), { code: "ERR_REGISTRY_CHECK" });
    assert.deepEqual([test.agent.requests, test.own.stats().registrations], [[], []]);
  });

  it("sends heartbeats four times in the life of its check, and readiness with each", async () => {
    await using test = await kept(fine, { ttlMs: 400, random: () => 0.5 });
    let isReady = true;
    await test.own.register(instance, { readiness: () => (isReady ? "passing" : "critical") });
    const [second, fifth] = [await test.agent.received(isAlive, 2), await test.agent.received(isAlive, 5)];
    assert.ok(
      fifth.atMs - second.atMs >= 290,
      `three heartbeats took ${fifth.atMs - second.atMs} ms; 100 ms each were expected`,
    );
    isReady = false;
    await test.agent.received((request) => isReadyCheck(request) && JSON.stringify(request.body).includes("not ready"));
    const unready = await test.agent.received(isReadyCheck, test.agent.requests.filter(isReadyCheck).length);
    assert.deepEqual(unready.body, { Status: "critical", Output: "not ready" });
    await test.agent.received(isAlive, test.agent.requests.filter(isAlive).length + 1);
    assert.deepEqual(test.states(), ["registered"], "an app that is not ready stays registered");
  });

  it("begins as critical when it is not ready yet", async () => {
    await using test = await kept(fine);
    await test.own.register(instance, { readiness: () => Promise.reject(new Error("warming up")) });
    const { Checks: checks } = test.agent.requests[0]!.body as { Checks: { Status: string }[] };
    assert.deepEqual(
      checks.map(({ Status }) => Status),
      ["passing", "critical"],
    );
  });

  for (const [status, body] of [
    [404, 'Unknown check ID "notes-1:alive"'],
    [500, 'CheckID "notes-1:alive" does not have associated TTL'],
  ] as const) {
    it(`registers again at once, under the same id, when the agent answers a heartbeat with ${status}`, async () => {
      await using test = await kept(fine);
      const registration = await test.own.register(instance);
      test.agent.play(failing(isAlive, { status, body }, 1));
      const [again, refused] = [await test.agent.received(isRegister, 2), await test.agent.received(isAlive, 2)];
      await test.became("registered", 2);
      assert.ok(
        again.atMs - refused.atMs < 50,
        `${again.atMs - refused.atMs} ms from the refused heartbeat to the registration`,
      );
      assert.deepEqual(again.body, test.agent.requests[0]!.body);
      assert.deepEqual(test.states(), ["registered", "lost", "registered"]);
      assert.equal(registration.error, undefined);
    });
  }

  it("does not hammer an agent that keeps refusing", async () => {
    await using test = await kept(fine, { ttlMs: 400, random: () => 0.999 });
    await test.own.register(instance);
    test.agent.play((request) => (isRegister(request) || isAlive(request) ? { status: 500, body: "no" } : {}));
    const [third, sixth] = [await test.agent.received(isRegister, 3), await test.agent.received(isRegister, 6)];
    assert.ok(
      sixth.atMs - third.atMs >= 290,
      `three tries took ${sixth.atMs - third.atMs} ms; pauses of 99 ms were expected`,
    );
    const { state, error } = test.own.stats().registrations[0]!;
    assert.deepEqual([state, error?.code], ["lost", "ERR_REGISTRY_UNAVAILABLE"]);
    test.agent.play(fine);
    await test.became("registered", 2);
  });

  for (const [what, answer, code] of [
    ["denies it", { status: 403, body: "Permission denied" }, "ERR_REGISTRY_DENIED"],
    ["has no leader", { status: 500, body: "No cluster leader" }, "ERR_REGISTRY_UNAVAILABLE"],
    ["hangs", "hang", "ERR_REGISTRY_TIMEOUT"],
  ] as const) {
    it(`is pending while the agent ${what}, and registered when that ends`, async () => {
      await using test = await kept(failing(isRegister, answer, 2), { requestTimeoutMs: 50 });
      const registration = await test.own.register(instance);
      assert.deepEqual([registration.state, registration.error?.code], ["pending", code]);
      await test.became("registered");
      assert.equal(test.events.filter(({ type }) => type === "registration_failed").length, 2);
    });
  }

  it("is pending while there is no agent, and registered when one comes", async () => {
    const agent = await ScriptedAgent.start(fine);
    const { address, port } = agent;
    await agent[Symbol.asyncDispose]();
    const registered = Promise.withResolvers<void>();
    const own = createConsulRegistry({
      address,
      ttlMs: 150,
      onEvent: (event) => event.type === "registration" && event.state === "registered" && registered.resolve(),
    });
    const registration = await own.register(instance);
    assert.equal(registration.state, "pending");
    assert.match(registration.error!.message, /ECONNREFUSED.*is the agent running, and is consul\.addr right\?$/);
    await using _late = await ScriptedAgent.start(fine, { port });
    await registered.promise;
    assert.equal(registration.state, "registered");
    await own.close();
  });

  it("fails when the agent says that the request is wrong", async () => {
    await using test = await kept(failing(isRegister, { status: 400, body: "Invalid service name" }));
    await assert.rejects(test.own.register(instance), {
      code: "ERR_REGISTRY_REJECTED",
      message: /Invalid service name$/,
    });
    await test.own.close();
    assert.deepEqual(
      test.agent.requests.map(({ path }) => path),
      ["/v1/agent/service/register"],
    );
    assert.deepEqual(test.own.stats().registrations, []);
  });

  it("waits for a registration in flight before it deregisters, so that nothing comes after", async () => {
    const held = Promise.withResolvers<ScriptedAnswer>();
    await using test = await kept((request) => (isRegister(request) ? held.promise : {}), { requestTimeoutMs: 5_000 });
    const registering = test.own.register(instance);
    await test.agent.received(isRegister);
    const closing = test.own.close();
    assert.equal(test.agent.requests.filter(isDeregister).length, 0);
    held.resolve({});
    await Promise.all([registering, closing]);
    assert.ok(isDeregister(test.agent.requests.at(-1)!));
    assert.equal((await registering).state, "left");
  });

  it("keeps its connection from one heartbeat to the next, beside watches that hold theirs", async () => {
    const hold = ({ path, query }: ScriptedRequest): ScriptedAnswer =>
      query.has("index") ? "hang" : path.startsWith("/v1/health/") ? { index: 7, body: [] } : {};
    await using test = await kept(hold, { requestTimeoutMs: 5_000 });
    for (let at = 0; at < 20; at++) test.own.follow(`peer-${at}`);
    await test.agent.received(({ query }) => query.has("index"), 20);
    await test.own.register(instance);
    await test.agent.received(isAlive, 4);
    const connections = new Set(test.agent.requests.filter(isAlive).map(({ closed }) => closed));
    assert.ok(connections.size <= 4, `${connections.size} connections for four heartbeats`);
    const held = new Set(test.agent.requests.filter(({ query }) => query.has("index")).map(({ closed }) => closed));
    assert.equal(held.size, 20, "each watch has one of its own");
    assert.ok([...connections].every((closed) => !held.has(closed)));
    const prompt = new Set(test.agent.requests.filter(({ query }) => !query.has("index")).map(({ closed }) => closed));
    assert.ok(prompt.size <= 4, `${prompt.size} connections for what is answered at once`);
  });

  it("does not wait for a heartbeat, or a readiness, that hangs", async () => {
    await using test = await kept(fine, { requestTimeoutMs: 60_000 });
    let readiness: () => Readiness | Promise<Readiness> = () => "passing";
    const first = await test.own.register(instance, { readiness: () => readiness() });
    test.agent.play((request) => (isAlive(request) ? "hang" : {}));
    await test.agent.received(isAlive, test.agent.requests.filter(isAlive).length + 1);
    await first.deregister();
    test.agent.play(fine);
    const second = await test.own.register(instance, { readiness: () => readiness() });
    const asked = Promise.withResolvers<void>();
    readiness = () => {
      asked.resolve();
      return Promise.withResolvers<Readiness>().promise;
    };
    await asked.promise;
    await second.deregister();
    assert.deepEqual(
      test.events.filter(({ type }) => type === "registration_failed"),
      [],
    );
  });

  it("takes back a registration that was given up", async () => {
    const held = Promise.withResolvers<ScriptedAnswer>();
    await using test = await kept((request) => (isRegister(request) ? held.promise : {}), { requestTimeoutMs: 5_000 });
    const stop = new AbortController();
    const registering = test.own.register(instance, { signal: stop.signal });
    await test.agent.received(isRegister);
    stop.abort(new Error("the start was cancelled"));
    await assert.rejects(registering, { message: "the start was cancelled" });
    held.resolve({});
    await test.agent.received(isDeregister);
    await test.became("left");
  });

  for (const [what, status] of [
    ["is gone already", 404],
    ["was there", 200],
  ] as const) {
    it(`is left for good when its entry ${what}`, async () => {
      await using test = await kept(failing(isDeregister, { status }));
      const registration = await test.own.register(instance);
      await registration.deregister();
      await registration.deregister();
      assert.equal(registration.state, "left");
      assert.equal(test.agent.requests.filter(isDeregister).length, 1);
      assert.equal(
        test.agent.requests.findLast((request) => !isDeregister(request)),
        test.agent.requests.at(-2),
      );
    });
  }

  it("tells when it could not be taken out, once, and sends no more heartbeats", async () => {
    await using test = await kept(failing(isDeregister, { status: 500, body: "stopping" }));
    const registration: Registration = await test.own.register(instance);
    await assert.rejects(registration.deregister(), { code: "ERR_REGISTRY_UNAVAILABLE", message: /stopping$/ });
    await assert.rejects(registration.deregister(), { code: "ERR_REGISTRY_UNAVAILABLE" });
    assert.equal(registration.state, "left");
    await test.own.close();
    assert.equal(test.agent.requests.filter(isDeregister).length, 1);
    assert.equal(test.events.filter(({ type }) => type === "deregistration_failed").length, 1);
  });

  it("gives up waiting for a deregistration when told, which goes on", async () => {
    const held = Promise.withResolvers<ScriptedAnswer>();
    await using test = await kept((request) => (isDeregister(request) ? held.promise : {}), {
      requestTimeoutMs: 5_000,
    });
    const registration = await test.own.register(instance);
    const stop = new AbortController();
    const leaving = registration.deregister({ signal: stop.signal });
    stop.abort(new Error("no time left"));
    await assert.rejects(leaving, { message: "no time left" });
    held.resolve({});
    await registration.deregister();
    assert.equal(registration.state, "left");
  });
});

describe("createConsulRegistry", () => {
  const wrong: readonly (readonly [keyof ConsulRegistryOptions, number])[] = [
    ["ttlMs", 99],
    ["checkIntervalMs", 0],
    ["deregisterAfterMs", 59_999],
    ["waitMs", 600_001],
    ["emptyConfirmMs", -1],
    ["silentKeepMs", -1],
    ["maxRequestsPerSecond", 0],
    ["maxBackoffMs", 0],
    ["requestTimeoutMs", Number.NaN],
    ["maxResponseBytes", 0],
  ];
  for (const [name, value] of wrong) {
    it(`rejects ${name} ${value} and names it`, () => {
      assert.throws(() => createConsulRegistry({ [name]: value }), {
        code: "ERR_OPTION_RANGE",
        message: new RegExp(`^${name} `),
      });
    });
  }
});
