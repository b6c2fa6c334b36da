import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, beforeEach, describe, it } from "node:test";
import { text as readText } from "node:stream/consumers";
import { type ConfigDocument, sleep, systemClock } from "@plinth/kernel";
import { type ConsulAgent, startConsul } from "../../../../scripts/servers/index.ts";
import { ScriptedAgent } from "../testing/index.ts";
import { type ConsulConfigEvent, consulConfig, type ConsulKv, createConsulKv } from "../index.ts";

const never = new AbortController().signal;
const plain = ({ data }: ConfigDocument): unknown => JSON.parse(JSON.stringify(data));

/** What a watch has told, by waiting for it. */
class Told {
  readonly events: ConsulConfigEvent[] = [];
  changes = 0;
  #next = Promise.withResolvers<void>();

  readonly onChange = (): void => {
    this.changes++;
    this.#wake();
  };

  readonly onEvent = (event: ConsulConfigEvent): void => {
    this.events.push(event);
    this.#wake();
  };

  async changed(count: number): Promise<void> {
    while (this.changes < count) await this.#next.promise;
  }

  async until(type: ConsulConfigEvent["type"]): Promise<ConsulConfigEvent> {
    for (;;) {
      const found = this.events.find((event) => event.type === type);
      if (found) return found;
      await this.#next.promise;
    }
  }

  #wake(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}

describe("config in a real Consul", { timeout: 60_000 }, () => {
  let agent: ConsulAgent;
  let kv: ConsulKv;
  let key: string;
  let tests = 0;
  before(async () => {
    agent = await startConsul();
    kv = createConsulKv({ address: agent.address });
  });
  after(async () => {
    await kv?.close();
    await agent?.stop();
  });
  beforeEach(() => {
    key = `config/notes-${++tests}`;
  });

  /** A source that has been loaded and is watched until the end of the test. */
  async function watched(place: { readonly key: string } | { readonly prefix: string }) {
    const told = new Told();
    const over = new AbortController();
    const source = consulConfig({
      ...place,
      address: agent.address,
      environment: {},
      waitMs: 1_000,
      requestTimeoutMs: 500,
      maxRequestsPerSecond: 20,
      maxBackoffMs: 100,
      onEvent: told.onEvent,
    });
    const load = async (): Promise<unknown> => plain(await source.load({ signal: never }));
    const loaded = await load();
    source.watch?.(told.onChange, { signal: over.signal });
    return { told, load, loaded, [Symbol.dispose]: () => over.abort() };
  }

  it("follows a key that is put, changed by cas, put again unchanged, deleted and put back", async () => {
    using test = await watched({ key });
    assert.deepEqual(test.loaded, {});
    await kv.put(key, "http:\n  port: 1\n");
    await test.told.changed(1);
    assert.deepEqual(await test.load(), { http: { port: 1 } });
    const entry = await kv.get(key);
    assert.ok(await kv.put(key, "http:\n  port: 2\n", { cas: entry?.modifyIndex }));
    await test.told.changed(2);
    assert.deepEqual(await test.load(), { http: { port: 2 } });
    await kv.put(key, "http:\n  port: 2\n");
    await kv.put(`${key}-other`, "x");
    await kv.delete(key);
    await test.told.changed(3);
    assert.deepEqual(await test.load(), {});
    await kv.put(key, "http:\n  port: 2\n");
    await test.told.changed(4);
    assert.equal(test.told.changes, 4);
    assert.deepEqual(test.told.events, []);
  });

  it("follows a folder, each key one value", async () => {
    await kv.put(`${key}/`, "");
    await kv.put(`${key}/http/port`, "8080");
    await kv.put(`${key}x/http/port`, "1");
    using test = await watched({ prefix: `${key}/` });
    assert.deepEqual(test.loaded, { http: { port: 8_080 } });
    await kv.put(`${key}/log/level`, "debug");
    await test.told.changed(1);
    assert.deepEqual(await test.load(), { http: { port: 8_080 }, log: { level: "debug" } });
    await kv.delete(`${key}/http/port`);
    await test.told.changed(2);
    assert.deepEqual(await test.load(), { log: { level: "debug" } });
    await kv.delete(`${key}/log/level`);
    await test.told.changed(3);
    assert.deepEqual(await test.load(), {});
  });

  for (const [what, again] of [
    ["with the same content", "a: 1"],
    ["with other content", "a: 2"],
  ] as const) {
    it(`survives an agent that was wiped and given the key again ${what}`, async () => {
      await kv.put(key, "a: 1");
      using test = await watched({ key });
      await agent.restart({ wipe: true });
      await test.told.until("watch_recovered");
      await test.told.changed(1); // it is gone
      assert.deepEqual(await test.load(), {});
      await kv.put(key, again);
      await test.told.changed(2);
      assert.deepEqual(await test.load(), { a: Number(again.at(-1)) });
      await kv.put(key, "a: 3");
      await test.told.changed(3);
      assert.deepEqual(await test.load(), { a: 3 });
    });
  }

  it("is loaded once the agent is up, when it comes a moment later", async () => {
    await agent.kill("SIGKILL");
    const source = consulConfig({ key, address: agent.address, environment: {}, maxTries: 100, random: () => 0.5 });
    const loading = source.load({ signal: never });
    await agent.restart();
    assert.deepEqual(plain(await loading), {});
  });

  it("notices an agent that hangs, and tells of what changed meanwhile when it goes on", async () => {
    await kv.put(key, "a: 1");
    using test = await watched({ key });
    await agent.kill("SIGSTOP");
    let put: Promise<boolean>;
    try {
      const failed = await test.told.until("watch_failed");
      assert.ok(failed.type === "watch_failed" && failed.error.code === "ERR_REGISTRY_TIMEOUT");
      const frozen = consulConfig({
        key,
        address: agent.address,
        environment: {},
        maxTries: 2,
        requestTimeoutMs: 100,
        random: () => 0,
      });
      await assert.rejects(frozen.load({ signal: never }), { code: "ERR_REGISTRY_TIMEOUT", message: /tried 2 times/ });
      put = kv.put(key, "a: 2");
    } finally {
      await agent.kill("SIGCONT");
    }
    assert.ok(await put);
    await test.told.changed(1);
    await test.told.until("watch_recovered");
    assert.deepEqual(await test.load(), { a: 2 });
    assert.equal(test.told.changes, 1);
  });
});

describe("config in a Consul with ACLs", { timeout: 60_000 }, () => {
  const root = "c0ffee00-0000-4000-8000-000000000001";
  let agent: ConsulAgent;
  before(async () => {
    const acl = `acl = { enabled = true, default_policy = "allow", tokens = { master = "${root}" } }`;
    agent = await startConsul({ args: [`-hcl=${acl}`] });
  });
  after(() => agent?.stop());

  /** Asks the agent as root, again while its ACLs are not yet up. */
  async function asRoot(path: string, body: object): Promise<Record<string, unknown>> {
    for (let left = 200; ; left--) {
      const response = await fetch(`${agent.address}${path}`, {
        method: "PUT",
        headers: { "x-consul-token": root },
        body: JSON.stringify(body),
      });
      const answer = await response.text();
      if (response.ok) return JSON.parse(answer) as Record<string, unknown>;
      if (left === 0) assert.fail(`${path}: ${response.status} ${answer}`);
      await sleep(systemClock, 50);
    }
  }

  /** A token that may do all but read below `secret/`. */
  async function tokenWithoutSecrets(): Promise<string> {
    const Rules = `key_prefix "secret/" { policy = "deny" }`;
    const { ID } = await asRoot("/v1/acl/policy", { Name: "no-secrets", Rules });
    const { SecretID } = await asRoot("/v1/acl/token", { Policies: [{ ID }] });
    return String(SecretID);
  }

  it("is refused at once without key:read, saying what the token lacks, and read with it", async () => {
    const token = await tokenWithoutSecrets();
    const kv = createConsulKv({ address: agent.address, token: root });
    await kv.put("secret/notes", "a: 1");
    await kv.close();
    const at = { address: agent.address, environment: {} };
    await assert.rejects(consulConfig({ key: "secret/notes", token, ...at }).load({ signal: never }), {
      code: "ERR_REGISTRY_DENIED",
      message:
        /^GET \/v1\/kv\/secret\/notes at http:.* was answered 403: .*; the token needs a policy with key "secret\/notes" \{ policy = "read" \}$/,
    });
    const allowed = consulConfig({ key: "secret/notes", token: root, ...at });
    assert.deepEqual(plain(await allowed.load({ signal: never })), { a: 1 });
    await assert.rejects(consulConfig({ key: "secret/notes", token: "no-such", ...at }).load({ signal: never }), {
      code: "ERR_REGISTRY_DENIED",
      message: /ACL not found/,
    });
    const denied = createConsulKv({ address: agent.address, token });
    await assert.rejects(denied.put("secret/notes", ""), { code: "ERR_REGISTRY_DENIED", message: /policy = "write"/ });
    await denied.close();
    // a folder is shown without what the token may not read: hence `required`
    const folder = consulConfig({ prefix: "secret/", token, required: true, ...at });
    await assert.rejects(folder.load({ signal: never }), { code: /^ERR_(CONFIG_FILE|REGISTRY_DENIED)$/ });
  });
});

describe("a process that watches", { timeout: 20_000 }, () => {
  for (const [what, play] of [
    ["in a query that hangs", "hang"],
    ["between two tries", { status: 500 }],
    ["while it keeps its pace", { index: 7, body: [{ Key: "a", Value: null, ModifyIndex: 1 }] }],
  ] as const) {
    it(`ends when it has nothing else to do, ${what}`, async () => {
      const answer = { index: 7, body: [{ Key: "a", Value: null, ModifyIndex: 1 }] };
      const left = [answer, answer, answer]; // of the load, at once, and after a wait on the same connection
      await using agent = await ScriptedAgent.start(() => left.shift() ?? play);
      const code = `
        import { consulConfig } from ${JSON.stringify(import.meta.resolve("../index.ts"))};
        const source = consulConfig({ key: "a", address: ${JSON.stringify(agent.address)}, maxBackoffMs: 60_000, random: () => 0.999 });
        const { signal } = new AbortController();
        await source.load({ signal });
        source.watch(() => {}, { signal });
        process.stdin.once("data", () => process.stdin.destroy());
      `;
      const child = spawn(
        process.execPath,
        ["--conditions=plinth-source", "--no-warnings", "--input-type=module", "--eval", code],
        { stdio: ["pipe", "ignore", "pipe"] },
      );
      const exited = once(child, "exit");
      await agent.received(({ query }) => query.get("index") === "7", 2);
      child.stdin.write("go\n");
      const [[status], errors] = await Promise.all([exited, readText(child.stderr)]);
      assert.deepEqual([status, errors], [0, ""]);
    });
  }
});
