import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ConfigDocument, ConfigError, type Scheduled, Secret } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { ScriptedAgent, type ScriptedAnswer, type ScriptedRequest } from "../testing/index.ts";
import { consulConfig, type ConsulConfigOptions, type ConsulConfigTuning } from "../index.ts";

const limits = { timeout: 20_000 };
const never = new AbortController().signal;
const plain = ({ data }: ConfigDocument): unknown => JSON.parse(JSON.stringify(data));
const entryOf = (key: string, value: string): object => ({
  Key: key,
  Value: Buffer.from(value).toString("base64"),
  ModifyIndex: 7,
});
const anything = (): boolean => true;

/** A source of `config/notes` that sees no variables but those given. */
function notes(agent: ScriptedAgent, more: ConsulConfigTuning = {}) {
  return consulConfig({ key: "config/notes", address: agent.address, environment: {}, random: () => 0, ...more });
}

describe("loading config from Consul", limits, () => {
  it("reads a key with the token, from the datacenter, once", async () => {
    await using agent = await ScriptedAgent.start(() => ({ body: [entryOf("config/notes", "a: 1")] }));
    const source = notes(agent, { token: new Secret("t0ken"), datacenter: "eu" });
    assert.equal(source.name, "consul:config/notes");
    const document = await source.load({ signal: never });
    assert.deepEqual(plain(document), { a: 1 });
    assert.equal(document.places.get("a"), "consul:config/notes:1");
    const [request] = agent.requests;
    assert.equal(agent.requests.length, 1);
    assert.equal(request?.path, "/v1/kv/config/notes");
    assert.deepEqual(Object.fromEntries(request.query), { dc: "eu" });
    assert.equal(request.headers["x-consul-token"], "t0ken");
    await request.closed;
  });

  it("reads a folder, each key one value", async () => {
    const body = [entryOf("config/notes/", ""), entryOf("config/notes/http/port", "8080")];
    await using agent = await ScriptedAgent.start(() => ({ body }));
    const source = consulConfig({ prefix: "config/notes/", address: agent.address, environment: {} });
    assert.equal(source.name, "consul:config/notes/");
    assert.deepEqual(plain(await source.load({ signal: never })), { http: { port: 8_080 } });
    assert.deepEqual(Object.fromEntries(agent.requests[0]?.query ?? []), { recurse: "true" });
  });

  for (const [what, place, body] of [
    ["key", { key: "config/notes" }, ""],
    ["folder", { prefix: "config/notes/" }, ""],
    ["folder with nothing but marks", { prefix: "config/notes/" }, [entryOf("config/notes/", "")]],
  ] as const) {
    it(`takes an absent ${what} for an empty document, or for a fault when it is required`, async () => {
      const answer = body === "" ? { status: 404, index: 5 } : { index: 5, body };
      await using agent = await ScriptedAgent.start(() => answer);
      const options: ConsulConfigOptions = { ...place, address: agent.address, environment: {} };
      const name = Object.values(place).join("");
      assert.deepEqual(plain(await consulConfig(options).load({ signal: never })), {});
      await assert.rejects(consulConfig({ ...options, required: true }).load({ signal: never }), (error) => {
        assert.ok(error instanceof ConfigError && error.code === "ERR_CONFIG_FILE");
        const [fault] = error.faults;
        assert.deepEqual([error.faults.length, fault?.key, fault?.source], [1, name, `consul:${name}`]);
        assert.ok(fault?.problem.includes(agent.address));
        return true;
      });
    });
  }

  it("tells what it holds amiss by place, and does not ask again for it", async () => {
    await using agent = await ScriptedAgent.start(() => ({ body: [entryOf("config/notes", "a: [")] }));
    await assert.rejects(notes(agent).load({ signal: never }), {
      code: "ERR_CONFIG_FILE",
      message: /consul:config\/notes:1/,
    });
    assert.equal(agent.requests.length, 1);
  });

  for (const [what, answer] of [
    ["500", { status: 500, body: "No cluster leader" }],
    ["429", { status: 429 }],
    ["a cut connection", "cut"],
    ["silence", "hang"],
  ] as const satisfies readonly (readonly [string, ScriptedAnswer])[]) {
    it(`tries again after ${what}`, async () => {
      const left: ScriptedAnswer[] = [answer, answer, { body: [entryOf("config/notes", "a: 1")] }];
      await using agent = await ScriptedAgent.start(() => left.shift() ?? "hang");
      const source = notes(agent, { requestTimeoutMs: 100 });
      assert.deepEqual(plain(await source.load({ signal: never })), { a: 1 });
      assert.equal(agent.requests.length, 3);
    });
  }

  const final: readonly (readonly [what: string, answer: ScriptedAnswer, expected: object])[] = [
    [
      "a refusal",
      { status: 403, body: "Permission denied" },
      {
        code: "ERR_REGISTRY_DENIED",
        message:
          /^GET \/v1\/kv\/config\/notes at http:\/\/127\.0\.0\.1:\d+ was answered 403: Permission denied; the token needs a policy with key "config\/notes" \{ policy = "read" \}$/,
      },
    ],
    ["an unknown token", { status: 403, body: "ACL not found" }, { code: "ERR_REGISTRY_DENIED" }],
    ["a page", { body: "<html>" }, { code: "ERR_REGISTRY_RESPONSE", message: /config\/notes/ }],
    ["a 404 of something else", { status: 404, body: "no page" }, { code: "ERR_REGISTRY_NOT_FOUND" }],
    ["too much", { body: "x".repeat(3_000) }, { code: "ERR_REGISTRY_RESPONSE_SIZE", message: /maxResponseBytes/ }],
  ];
  for (const [what, answer, expected] of final) {
    it(`does not try again after ${what}`, async () => {
      await using agent = await ScriptedAgent.start(() => answer);
      await assert.rejects(notes(agent, { maxResponseBytes: 2_000 }).load({ signal: never }), expected);
      assert.equal(agent.requests.length, 1);
    });
  }

  it("gives up after maxTries, naming address, key, reason and how often it tried", async () => {
    await using agent = await ScriptedAgent.start(() => ({ status: 500, body: "No cluster leader" }));
    await assert.rejects(notes(agent, { maxTries: 3 }).load({ signal: never }), {
      code: "ERR_REGISTRY_UNAVAILABLE",
      status: "unavailable",
      message:
        /^GET \/v1\/kv\/config\/notes at http:\/\/127\.0\.0\.1:\d+ was answered 500: No cluster leader; tried 3 times in \d+ ms$/,
    });
    assert.equal(agent.requests.length, 3);
  });

  it("says that nobody listens there", async () => {
    const source = consulConfig({ key: "config/notes", address: "127.0.0.1:1", environment: {}, maxTries: 1 });
    await assert.rejects(source.load({ signal: never }), {
      code: "ERR_REGISTRY_UNAVAILABLE",
      message: /^GET \/v1\/kv\/config\/notes at http:\/\/127\.0\.0\.1:1 failed: .*ECONNREFUSED.*is the agent running/,
    });
  });

  it("waits with full jitter between tries, 0.25 s at first, twice that next", async () => {
    const clock = new ListeningClock();
    await using agent = await ScriptedAgent.start(() => ({ status: 500 }));
    const loading = notes(agent, { clock, random: () => 0.999, maxTries: 4 }).load({ signal: never });
    const rejected = assert.rejects(loading, { code: "ERR_REGISTRY_UNAVAILABLE" });
    const waits: number[] = [];
    while (waits.length < 3) {
      const delayMs = await clock.nextDelay();
      if (delayMs === requestTimeoutMs) continue;
      waits.push(delayMs);
      await clock.advance(delayMs);
    }
    await rejected;
    assert.deepEqual(waits, [249, 499, 999]);
  });

  it("never goes on past loadTimeoutMs, however slow the agent is", async () => {
    const clock = new FakeClock();
    await using agent = await ScriptedAgent.start(() => "hang");
    const source = notes(agent, { clock, loadTimeoutMs: 5_000, requestTimeoutMs: 2_000, random: () => 0.5 });
    const loading = source.load({ signal: never });
    const rejected = assert.rejects(loading, { code: "ERR_REGISTRY_TIMEOUT", message: /tried 2 times in 4125 ms$/ });
    await agent.received(anything);
    await clock.advance(2_125);
    await agent.received(anything, 2);
    await clock.advance(2_000);
    await rejected;
    assert.equal(agent.requests.length, 2);
  });

  it("ends at once when its signal aborts: before, in a request, and between two tries", async () => {
    const clock = new FakeClock();
    await using agent = await ScriptedAgent.start(() => "hang");
    const source = notes(agent, { clock });
    const reason = new Error("the start was cancelled");
    await assert.rejects(source.load({ signal: AbortSignal.abort(reason) }), reason);
    assert.equal(agent.requests.length, 0);
    const inRequest = new AbortController();
    const asking = source.load({ signal: inRequest.signal });
    const asked = await agent.received(anything);
    inRequest.abort(reason);
    await assert.rejects(asking, reason);
    await asked.closed;
    const between = new AbortController();
    const waiting = notes(agent, { clock, random: () => 0.999 }).load({ signal: between.signal });
    const rejected = assert.rejects(waiting, reason);
    await agent.received(anything, 2);
    await clock.advance(2_000);
    between.abort(reason);
    await rejected;
    assert.equal(clock.pending, 0);
  });
});

const requestTimeoutMs = 2_000;

/** A clock that tells what is waited for, in the order it was asked for. */
class ListeningClock extends FakeClock {
  readonly #delays: number[] = [];
  #wake = (): void => {};

  override schedule(delayMs: number, run: () => void): Scheduled {
    const scheduled = super.schedule(delayMs, run);
    this.#delays.push(delayMs);
    this.#wake();
    return scheduled;
  }

  async nextDelay(): Promise<number> {
    for (;;) {
      const delayMs = this.#delays.shift();
      if (delayMs !== undefined) return delayMs;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

describe("where consulConfig finds its agent", limits, () => {
  const heard = async (
    toOptions: (agent: ScriptedAgent) => Omit<ConsulConfigTuning, "key" | "prefix">,
  ): Promise<ScriptedRequest | undefined> => {
    await using agent = await ScriptedAgent.start(() => ({ status: 404, index: 1 }));
    await consulConfig({ key: "config/notes", maxTries: 1, ...toOptions(agent) }).load({ signal: never });
    return agent.requests[0];
  };
  const away = "127.0.0.1:1";

  it("takes PLINTH_CONSUL_ADDR and PLINTH_CONSUL_TOKEN, else Consul's own variables; options win", async () => {
    const both = { CONSUL_HTTP_TOKEN: "theirs" };
    const own = await heard(({ address }) => ({
      environment: { ...both, PLINTH_CONSUL_ADDR: address, CONSUL_HTTP_ADDR: away, PLINTH_CONSUL_TOKEN: "ours" },
    }));
    assert.equal(own?.headers["x-consul-token"], "ours");
    const theirs = await heard(({ port }) => ({
      environment: { ...both, CONSUL_HTTP_ADDR: `127.0.0.1:${port}`, PLINTH_CONSUL_ADDR: "" },
    }));
    assert.equal(theirs?.headers["x-consul-token"], "theirs");
    const given = await heard(({ address }) => ({
      address,
      token: "given",
      environment: { ...both, PLINTH_CONSUL_ADDR: away },
    }));
    assert.equal(given?.headers["x-consul-token"], "given");
    const none = await heard(({ address }) => ({ address, environment: {} }));
    assert.equal(none?.headers["x-consul-token"], undefined);
  });
});

describe("options of consulConfig", () => {
  const wrong: readonly (readonly [what: string, options: object, message: RegExp])[] = [
    ["neither key nor prefix", {}, /^key or prefix /],
    ["both", { key: "a", prefix: "a/" }, /^key or prefix /],
    ["an empty key", { key: "" }, /^key /],
    ["a key that is a folder", { key: "a/" }, /^key .*prefix/],
    ["a key with a slash before it", { key: "/a" }, /^key /],
    ["the whole store", { prefix: "" }, /^prefix /],
    ["a prefix that is no folder", { prefix: "config/notes" }, /^prefix .*config\/notes\//],
    ["an empty part", { prefix: "config//" }, /^prefix /],
    ["no tries", { key: "a", maxTries: 0 }, /^maxTries /],
    ["half a try", { key: "a", maxTries: 1.5 }, /^maxTries /],
    ["no time", { key: "a", loadTimeoutMs: 0 }, /^loadTimeoutMs /],
    ["no time for a request", { key: "a", requestTimeoutMs: NaN }, /^requestTimeoutMs /],
    ["no bytes", { key: "a", maxResponseBytes: 0 }, /^maxResponseBytes /],
    ["a wait that Consul would cut", { key: "a", waitMs: 600_001 }, /^waitMs /],
    ["no requests", { key: "a", maxRequestsPerSecond: 0 }, /^maxRequestsPerSecond /],
    ["no backoff", { key: "a", maxBackoffMs: 0 }, /^maxBackoffMs /],
  ];
  for (const [what, options, message] of wrong) {
    it(`refuse ${what}, naming the option`, () => {
      // what the compiler refuses, plain JavaScript may still give
      const given = { environment: {}, ...options } as ConsulConfigOptions;
      assert.throws(() => consulConfig(given), { code: "ERR_OPTION_RANGE", message });
    });
  }

  it("refuse an address that is none, from wherever it comes", () => {
    const code = "ERR_REGISTRY_ADDRESS";
    assert.throws(() => consulConfig({ key: "a", address: "unix://run/consul", environment: {} }), { code });
    assert.throws(() => consulConfig({ key: "a", environment: { CONSUL_HTTP_ADDR: "a b" } }), { code });
  });

  it("are checked by the compiler: a key or a prefix, not both", () => {
    // @ts-expect-error -- not both
    assert.throws(() => consulConfig({ key: "a", prefix: "b/" }));
    // @ts-expect-error -- nor neither
    assert.throws(() => consulConfig({}));
  });
});
