import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type ConsulAgent, startConsul } from "../../../../scripts/servers/index.ts";
import { ScriptedAgent, type ScriptedAnswer, scriptedEntry } from "../testing/index.ts";
import { type CheckDefinition, type ConsulClient, createConsulClient, type ServiceDefinition } from "../index.ts";

const limits = { timeout: 40_000 };

function service(id: string, more: Partial<ServiceDefinition> = {}): ServiceDefinition {
  const check: CheckDefinition = { CheckID: `${id}:ttl`, Name: "ttl", Status: "passing", TTL: "60s" };
  return {
    ID: id,
    Name: "notes",
    Address: "127.0.0.1",
    Port: 3_000,
    Tags: [],
    Meta: {},
    Weights: { Passing: 1, Warning: 1 },
    Checks: [check],
    ...more,
  };
}

describe("the client of a real agent", limits, () => {
  let agent: ConsulAgent;
  let consul: ConsulClient;
  before(async () => {
    agent = await startConsul();
    consul = createConsulClient({ address: agent.address, environment: {} });
  });
  after(async () => {
    await consul?.close();
    await agent?.stop();
  });
  const states = async (): Promise<string[]> => {
    const { items } = await consul.health("notes", { consistency: "consistent" });
    return items.map((entry) => `${entry.service.id} ${entry.status}`).toSorted();
  };

  it("registers, reads, updates, maintains and deregisters a service", async () => {
    await consul.registerService(service("a-1", { Tags: ["v1"], Meta: { team: "blue" } }));
    const { items, skipped } = await consul.services();
    assert.deepEqual(skipped, []);
    assert.deepEqual(items, [
      {
        id: "a-1",
        name: "notes",
        address: "127.0.0.1",
        port: 3_000,
        tags: ["v1"],
        meta: { team: "blue" },
        weights: { passing: 1, warning: 1 },
      },
    ]);
    assert.deepEqual((await consul.services({ filter: 'Meta.team == "red"' })).items, []);
    await consul.updateCheck("a-1:ttl", "warning", "slow");
    const check = { id: "a-1:ttl", name: "ttl", status: "warning", output: "slow", serviceId: "a-1" };
    assert.deepEqual((await consul.checks()).items, [check]);
    assert.deepEqual(await states(), ["a-1 warning"]);
    await consul.setMaintenance("a-1", "new disk & more");
    assert.deepEqual(await states(), ["a-1 maintenance"]);
    await consul.registerService(service("a-1"), { keepChecks: true });
    assert.deepEqual(await states(), ["a-1 maintenance"], "what an operator has said stays");
    await consul.setMaintenance("a-1", undefined);
    await consul.setNodeMaintenance("upgrade");
    assert.deepEqual(await states(), ["a-1 maintenance"]);
    await consul.setNodeMaintenance(undefined);
    await consul.updateCheck("a-1:ttl", "critical", "");
    assert.deepEqual(await states(), ["a-1 critical"]);
    await consul.deregisterService("a-1");
    await consul.deregisterService("a-1"); // and one that is not there is fine
    assert.deepEqual(await states(), []);
  });

  it("tells which check and which service the agent does not know", async () => {
    await assert.rejects(consul.updateCheck("none", "passing", ""), { message: /check\/update\/none at http:.*none/ });
    await assert.rejects(consul.readService("none"), { code: "ERR_REGISTRY_NOT_FOUND", message: /service\/none at / });
    const maintained = consul.setMaintenance("none", "gone");
    await assert.rejects(maintained, { code: "ERR_REGISTRY_NOT_FOUND" });
  });

  it("reads health passing only, filtered, in any consistency, and how fresh it is", async () => {
    await consul.registerService(service("b-1", { Name: "users", Tags: ["v1"] }));
    await consul.registerService(service("b-2", { Name: "users", Tags: ["v2"] }));
    await consul.updateCheck("b-2:ttl", "critical", "");
    const idsOf = async (options: Parameters<ConsulClient["health"]>[1]): Promise<string[]> =>
      (await consul.health("users", { consistency: "consistent", ...options })).items.map((entry) => entry.service.id);
    assert.deepEqual(await idsOf({ near: "_agent" }), ["b-1", "b-2"]);
    assert.deepEqual(await idsOf({ passing: true }), ["b-1"]);
    assert.deepEqual(await idsOf({ filter: '"v2" in Service.Tags' }), ["b-2"]);
    for (const consistency of ["stale", "default", "consistent"] as const) {
      const answer = await consul.health("users", { consistency });
      assert.equal(answer.lastContactMs, 0, "the one server of a development agent leads");
      assert.deepEqual([answer.knownLeader, answer.filteredByAcls, answer.skipped], [true, false, []]);
      assert.ok(answer.index > 0);
    }
    const wrong = consul.health("users", { filter: "no such language" });
    await assert.rejects(wrong, { code: "ERR_REGISTRY_REJECTED", message: /; mend the filter$/ });
    const { items } = await consul.catalogServices({ consistency: "consistent" });
    assert.deepEqual(
      items.filter(({ name }) => name === "users").map(({ name, tags }) => [name, tags.toSorted()]),
      [["users", ["v1", "v2"]]],
    );
    await consul.deregisterService("b-1");
    await consul.deregisterService("b-2");
  });

  it("is held while nothing changes, and wakes for a change of health and of the catalogue", async () => {
    const { index } = await consul.health("late");
    const waiting = consul.health("late", { index, waitMs: 60_000 });
    const { index: all } = await consul.catalogServices({ consistency: "default" });
    const listing = consul.catalogServices({ index: all, waitMs: 60_000, consistency: "default" });
    await consul.registerService(service("c-1", { Name: "late" }));
    assert.ok((await waiting).index > index);
    assert.ok((await listing).index > all);
    await consul.deregisterService("c-1");
  });

  it("reads the agent itself and the leader, and keys by the same connection", async () => {
    const self = await consul.self();
    assert.deepEqual([self.datacenter, self.isServer], ["dc1", true]);
    assert.match(self.version, /^\d+\.\d+/);
    assert.match((await consul.leader()) ?? "", /^127\.0\.0\.1:\d+$/);
    await consul.kv.put("d/1", "x");
    await consul.kv.put("d/2", "x");
    assert.equal((await consul.kv.list("d/", { consistency: "stale" })).length, 2);
    await consul.kv.deleteAll("d/");
    assert.deepEqual(await consul.kv.list("d/", { consistency: "consistent" }), []);
  });

  it("refuses a datacenter that is not, and a namespace where there are none", async () => {
    const away = createConsulClient({ address: agent.address, datacenter: "mars", environment: {} });
    await assert.rejects(away.health("notes"), {
      code: "ERR_REGISTRY_UNAVAILABLE",
      message: /\/health\/service\/notes at .*answered 500: No path to datacenter; is the datacenter's name right/,
    });
    assert.equal((await away.self()).datacenter, "dc1", "the agent itself is in its own");
    await away.close();
    const tenant = createConsulClient({ address: agent.address, namespace: "blue", environment: {} });
    await assert.rejects(tenant.health("notes"), { code: "ERR_REGISTRY_REJECTED", message: /answered 400: .*ns/ });
    await tenant.close();
  });
});

describe("what an agent may answer to a client", limits, () => {
  async function asked<T>(answer: ScriptedAnswer, ask: (consul: ConsulClient) => Promise<T>): Promise<T> {
    await using agent = await ScriptedAgent.start(() => answer);
    const consul = createConsulClient({
      address: agent.address,
      requestTimeoutMs: 2_000,
      maxResponseBytes: 4_000,
      environment: {},
    });
    try {
      return await ask(consul);
    } finally {
      await consul.close();
    }
  }

  it("tells each entry that makes no sense alone, with where in it", async () => {
    const broken: readonly unknown[] = [
      null,
      7,
      { Service: { ID: "b" } },
      scriptedEntry("c", { Service: "notes", Port: "80" }),
      scriptedEntry("d", { Service: "notes", Tags: [5] }),
      { ...Object(scriptedEntry("e", { Service: "notes" })), Checks: [{ CheckID: "x", Status: "maybe" }] },
    ];
    const body = [...broken, scriptedEntry("good", { Service: "notes" })];
    const { items, skipped } = await asked({ index: 3, body }, (consul) => consul.health("notes"));
    assert.deepEqual(
      items.map((entry) => [entry.service.id, entry.status]),
      [["good", "passing"]],
    );
    assert.deepEqual(
      skipped.map(({ id, problem }) => `${id} ${problem.split(":")[0]}`),
      ["(no id) entry", "(no id) entry", "b Node", "c Service.Port", "d Service.Tags.0", "e Checks.0.Status"],
    );
  });

  it("tells services and checks of the agent that make no sense alone", async () => {
    const body = { a: { ID: "a", Service: "notes" }, b: { ID: 5 } };
    const services = await asked({ body }, (consul) => consul.services());
    assert.deepEqual([services.items.map(({ id }) => id), services.skipped.map(({ id }) => id)], [["a"], ["b"]]);
    const checks = await asked({ body: { x: { CheckID: "x", Status: "passing" }, y: 1 } }, (consul) => consul.checks());
    assert.deepEqual([checks.items.map(({ id }) => id), checks.skipped.map(({ id }) => id)], [["x"], ["y"]]);
    const catalog = await asked({ body: { a: ["v1"], b: null, c: "v1" } }, (consul) => consul.catalogServices());
    assert.deepEqual([catalog.items.map(({ name }) => name), catalog.skipped.map(({ id }) => id)], [["a", "b"], ["c"]]);
  });

  const calls: readonly (readonly [what: string, call: (consul: ConsulClient) => Promise<unknown>])[] = [
    ["health", (consul) => consul.health("notes")],
    ["catalogServices", (consul) => consul.catalogServices()],
    ["services", (consul) => consul.services()],
    ["checks", (consul) => consul.checks()],
    ["self", (consul) => consul.self()],
    ["leader", (consul) => consul.leader()],
  ];
  for (const [what, call] of calls) {
    it(`refuses what ${what} cannot read, typed`, async () => {
      for (const body of ["<html>", "", "7", '{"a":']) {
        await assert.rejects(asked({ body }, call), { code: "ERR_REGISTRY_RESPONSE" }, body);
      }
      await assert.rejects(asked({ body: "x".repeat(5_000) }, call), { code: "ERR_REGISTRY_RESPONSE_SIZE" });
      await assert.rejects(asked({ status: 403, body: "no" }, call), { code: "ERR_REGISTRY_DENIED" });
      await assert.rejects(asked({ status: 429, body: "slow" }, call), {
        code: "ERR_REGISTRY_UNAVAILABLE",
        message: /answered 429: slow; look at the agent's limits/,
      });
      await assert.rejects(asked({ status: 307 }, call), { code: "ERR_REGISTRY_REJECTED" });
      await assert.rejects(asked("cut", call), { code: "ERR_REGISTRY_UNAVAILABLE" });
    });
  }

  it("knows of no leader where the answer is empty", async () => {
    assert.equal(await asked({ body: '""' }, (consul) => consul.leader()), undefined);
  });

  for (const [headers, expected] of [
    [{ "x-consul-lastcontact": "250", "x-consul-knownleader": "false" }, [250, false, false]],
    [{ "x-consul-lastcontact": "-1", "x-consul-knownleader": "yes" }, [undefined, undefined, false]],
  ] as const) {
    it(`reads how far an answer can be trusted from ${JSON.stringify(headers)}`, async () => {
      const { lastContactMs, knownLeader, filteredByAcls } = await asked({ headers, body: [] }, (consul) =>
        consul.health("notes"),
      );
      assert.deepEqual([lastContactMs, knownLeader, filteredByAcls], expected);
    });
  }

  it("takes an empty list from which all was left out for a refusal, and what is left of another for what it is", async () => {
    const headers = { "x-consul-results-filtered-by-acls": "true" };
    await assert.rejects(
      asked({ headers, body: [] }, (consul) => consul.health("notes")),
      {
        code: "ERR_REGISTRY_DENIED",
        message: /left out all instances of notes, .*service:read and node:read/,
      },
    );
    await assert.rejects(
      asked({ headers, body: {} }, (consul) => consul.catalogServices()),
      {
        code: "ERR_REGISTRY_DENIED",
      },
    );
    const body = [scriptedEntry("a", { Service: "notes" })];
    const partial = await asked({ headers, body }, (consul) => consul.health("notes"));
    assert.deepEqual([partial.items.length, partial.filteredByAcls], [1, true]);
  });

  it("is asked once for each call, with datacenter, namespace and partition where they count", async () => {
    await using agent = await ScriptedAgent.start(({ path }) =>
      path.startsWith("/v1/agent/s") ? { body: {} } : { body: [] },
    );
    const consul = createConsulClient({
      address: agent.address,
      datacenter: "eu",
      namespace: "blue",
      partition: "west",
      httpAuth: "ops:s3cret",
      token: "t0ken",
      environment: {},
    });
    await consul.health("a/b", { passing: true, near: "_agent", filter: "x", index: 7, waitMs: 1_000 });
    await consul.updateCheck("c", "passing", "");
    await consul.services();
    await consul.close();
    const seen = agent.requests.map(({ path, query }) => [path, Object.fromEntries(query)]);
    const tenant = { ns: "blue", partition: "west" };
    const read = { dc: "eu", passing: "true", near: "_agent", stale: "", filter: "x", index: "7", wait: "1000ms" };
    assert.deepEqual(seen, [
      ["/v1/health/service/a/b", { ...tenant, ...read }],
      ["/v1/agent/check/update/c", tenant],
      ["/v1/agent/services", tenant],
    ]);
    for (const { headers } of agent.requests) {
      assert.equal(headers.authorization, `Basic ${Buffer.from("ops:s3cret").toString("base64")}`);
      assert.equal(headers["x-consul-token"], "t0ken");
    }
  });
});
