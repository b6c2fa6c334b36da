import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { Clock, ConfigSource } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import { ScriptedAgent, type ScriptedAnswer, type ScriptedRequest } from "../testing/index.ts";
import { type ConsulConfigEvent, consulConfig, type ConsulConfigTuning } from "../index.ts";

const limits = { timeout: 20_000 };
const never = new AbortController().signal;

/** What the agent says of `config/notes`; undefined: there is no such key. */
function answerOf(index: number | string | undefined, text: string | undefined, more: object = {}): ScriptedAnswer {
  if (text === undefined) return { status: 404, index };
  const Value = text === "" ? null : Buffer.from(text).toString("base64");
  return { index, body: [{ Key: "config/notes", Value, ModifyIndex: 1, ...more }] };
}

const isFirst = ({ query }: ScriptedRequest): boolean => query.get("index") === null;
const indexOf = ({ query }: ScriptedRequest): string | null => query.get("index");
const anything = (): boolean => true;

interface Watched extends AsyncDisposable {
  readonly agent: ScriptedAgent;
  readonly source: ConfigSource;
  readonly events: ConsulConfigEvent[];
  readonly changes: () => number;
  /** Resolves at the `count`th change, from the first on. */
  changed(count: number): Promise<void>;
  told(type: ConsulConfigEvent["type"], count?: number): Promise<ConsulConfigEvent>;
  end(reason?: Error): void;
}

/** A source that has loaded the first answer, unless it is undefined, and watches with the others, then for ever with `last`. */
async function watched(
  [loaded, ...answers]: readonly (ScriptedAnswer | undefined)[],
  { last = "hang", ...options }: ConsulConfigTuning & { readonly last?: ScriptedAnswer } = {},
): Promise<Watched> {
  const agent = await ScriptedAgent.start(() => loaded ?? "hang");
  const events: ConsulConfigEvent[] = [];
  let changes = 0;
  let next = Promise.withResolvers<void>();
  const wake = (): void => {
    next.resolve();
    next = Promise.withResolvers();
  };
  const source = consulConfig({
    key: "config/notes",
    address: agent.address,
    environment: {},
    maxRequestsPerSecond: 1_000,
    maxBackoffMs: 5,
    onEvent: (event) => {
      events.push(event);
      wake();
    },
    ...options,
  });
  const over = new AbortController();
  if (loaded !== undefined) {
    await source.load({ signal: never });
    agent.requests.length = 0;
  }
  const left = [...answers];
  agent.play(() => left.shift() ?? last);
  source.watch?.(
    () => {
      changes++;
      wake();
    },
    { signal: over.signal },
  );
  return {
    agent,
    source,
    events,
    changes: () => changes,
    async changed(count) {
      for (;;) {
        if (changes >= count) return;
        await next.promise;
      }
    },
    async told(type, count = 1) {
      for (;;) {
        const found = events.filter((event) => event.type === type)[count - 1];
        if (found) return found;
        await next.promise;
      }
    },
    end: (reason) => over.abort(reason),
    async [Symbol.asyncDispose]() {
      over.abort();
      await agent[Symbol.asyncDispose]();
    },
  };
}

const a1 = answerOf(7, "a: 1");

/** The same clock, telling how long each wait is to be. */
function notingClock(clock: Clock, onDelay: (delayMs: number) => void): Clock {
  return {
    now: () => clock.now(),
    monotonicMs: () => clock.monotonicMs(),
    schedule(delayMs, task) {
      onDelay(delayMs);
      return clock.schedule(delayMs, task);
    },
  };
}

describe("the watch of a document in Consul", limits, () => {
  it("asks at once, then blocks on the index it was given, with the token", async () => {
    await using test = await watched([a1, a1], { waitMs: 30_000, token: "t0ken", datacenter: "eu" });
    const second = await test.agent.received(anything, 2);
    assert.deepEqual(Object.fromEntries(test.agent.requests[0]?.query ?? []), { dc: "eu" });
    assert.deepEqual(Object.fromEntries(second.query), { dc: "eu", index: "7", wait: "30000ms" });
    assert.equal(second.headers["x-consul-token"], "t0ken");
    assert.equal(test.changes(), 0);
  });

  it("tells of a change, of a deletion and of the key coming back, each once", async () => {
    await using test = await watched([a1, a1, answerOf(8, "a: 2"), answerOf(9, undefined), answerOf(12, "a: 2")]);
    await test.agent.received(anything, 5);
    assert.equal(test.changes(), 3);
    assert.deepEqual(test.agent.requests.map(indexOf), [null, "7", "8", "9", "12"]);
  });

  it("tells of what has changed between the load and its first answer", async () => {
    await using test = await watched([a1, answerOf(8, "a: 2")]);
    await test.agent.received(anything, 2);
    assert.equal(test.changes(), 1);
  });

  it("takes the first answer for what is known when nothing was loaded", async () => {
    await using test = await watched([undefined, a1, answerOf(8, "a: 2")]);
    await test.agent.received(anything, 2);
    assert.equal(test.changes(), 0);
    await test.agent.received(anything, 3);
    assert.equal(test.changes(), 1);
  });

  it("trusts the content, not the index: locks, flags and other keys are no change", async () => {
    await using test = await watched([
      a1,
      a1,
      answerOf(8, "a: 1", { Flags: 42 }),
      answerOf(9, "a: 1", { LockIndex: 2, Session: "x" }),
      answerOf(10, "a: 1", { ModifyIndex: 10 }),
    ]);
    await test.agent.received(anything, 5);
    assert.equal(test.changes(), 0);
  });

  it("watches a folder: a key more, less or other is a change, a folder mark is none", async () => {
    const folder = (index: number, keys: Readonly<Record<string, string>>): ScriptedAnswer => ({
      index,
      body: Object.entries(keys).map(([key, value]) => ({
        Key: `config/${key}`,
        Value: Buffer.from(value).toString("base64"),
        ModifyIndex: index,
      })),
    });
    const agent = await ScriptedAgent.start(() => folder(1, { a: "1", b: "2" }));
    await using _ = agent;
    const source = consulConfig({
      prefix: "config/",
      address: agent.address,
      environment: {},
      maxRequestsPerSecond: 1_000,
    });
    await source.load({ signal: never });
    const left = [
      folder(1, { b: "2", a: "1" }),
      folder(2, { "": "", a: "1", b: "2", "c/": "" }),
      folder(3, { a: "1", b: "2", c: "3" }),
      folder(4, { a: "1", c: "3" }),
      folder(5, { a: "2", c: "3" }),
      folder(6, { a: "23", c: "" }),
    ];
    agent.play(() => left.shift() ?? "hang");
    agent.requests.length = 0;
    const seen: (string | null)[] = [];
    const over = new AbortController();
    const asked = (): string | null => agent.requests.at(-1)?.query.get("index") ?? null;
    source.watch?.(() => seen.push(asked()), { signal: over.signal });
    const last = await agent.received(anything, 7);
    assert.equal(last.query.get("recurse"), "true");
    assert.deepEqual(seen, ["2", "3", "4", "5"]);
    over.abort();
  });

  it("begins again at 0 when the index goes backwards, and says so", async () => {
    await using test = await watched([
      answerOf(90, "a: 1"),
      answerOf(90, "a: 1"),
      answerOf(5, "a: 1"),
      answerOf(6, "a: 2"),
    ]);
    await test.agent.received(anything, 4);
    assert.deepEqual(test.agent.requests.map(indexOf), [null, "90", null, "6"]);
    assert.deepEqual(test.events, [{ type: "watch_reset", source: "consul:config/notes", index: 5, previous: 90 }]);
    assert.equal(test.changes(), 1);
  });

  for (const [what, index] of [
    ["0", 0],
    ["missing", undefined],
    ["no number", "abc"],
    ["negative", -1],
  ] as const) {
    it(`goes on when the index is ${what}, and still sees what changes`, async () => {
      const odd = answerOf(index, "a: 1");
      await using test = await watched([odd, odd, odd, odd, answerOf(index, "a: 2")]);
      await test.agent.received(anything, 5);
      assert.deepEqual(test.agent.requests.slice(0, 4).map(indexOf), [null, "1", null, "1"]);
      assert.equal(test.changes(), 1);
    });
  }

  it("asks no more often than allowed, of an agent that always answers at once", async () => {
    const clock = new FakeClock();
    await using test = await watched([a1], { last: a1, maxRequestsPerSecond: 2, clock });
    // a burst of two, then one each half second: time stands still, so that nothing else can come
    const at: number[] = [];
    for (let count = 1; count <= 6; count++) {
      while (test.agent.requests.length < count) {
        await clock.advance(count <= 2 ? 0 : 1);
        await turn();
      }
      at.push(clock.monotonicMs());
    }
    for (let count = 2; count < 6; count++) {
      const gapMs = at[count]! - at[count - 2]!;
      assert.ok(gapMs >= 500, `requests ${count - 1} to ${count + 1} within ${gapMs} ms`);
    }
    assert.equal(test.changes(), 0);
  });

  const failures: readonly (readonly [what: string, answer: ScriptedAnswer, code: string])[] = [
    ["500 without a leader", { status: 500, body: "No cluster leader" }, "ERR_REGISTRY_UNAVAILABLE"],
    ["429", { status: 429 }, "ERR_REGISTRY_UNAVAILABLE"],
    ["403", { status: 403, body: "Permission denied" }, "ERR_REGISTRY_DENIED"],
    ["a 404 that is not Consul's", { status: 404 }, "ERR_REGISTRY_NOT_FOUND"],
    ["a cut connection", "cut", "ERR_REGISTRY_UNAVAILABLE"],
    ["text that is no JSON", { index: 9, body: "<html>" }, "ERR_REGISTRY_RESPONSE"],
    [
      "garbage for a value",
      { index: 9, body: [{ Key: "config/notes", Value: "?", ModifyIndex: 1 }] },
      "ERR_REGISTRY_RESPONSE",
    ],
    ["more than it will read", { index: 9, body: "x".repeat(3_000) }, "ERR_REGISTRY_RESPONSE_SIZE"],
    ["no answer", "hang", "ERR_REGISTRY_TIMEOUT"],
  ];
  for (const [what, answer, code] of failures) {
    it(`goes on after ${what}, from 0, and tells of what changed meanwhile and of nothing else`, async () => {
      await using test = await watched([a1, a1, answer, a1, answer, answerOf(8, "a: 2")], {
        maxResponseBytes: 2_000,
        waitMs: 16,
        requestTimeoutMs: 100,
      });
      await test.changed(1);
      assert.deepEqual(
        test.agent.requests.slice(0, 6).map(indexOf),
        [null, "7", null, "7", null, "8"].slice(0, test.agent.requests.length),
      );
      const types = test.events.map(({ type }) => type);
      assert.deepEqual(types.slice(0, 4), ["watch_failed", "watch_recovered", "watch_failed", "watch_recovered"]);
      const [failed] = test.events;
      assert.ok(failed?.type === "watch_failed" && failed.error.code === code && failed.failures === 1);
      assert.equal(failed.source, "consul:config/notes");
      assert.equal(test.changes(), 1);
    });
  }

  it("gives a quiet query its wait, a sixteenth more, and the time of a request", async () => {
    const clock = new FakeClock();
    await using test = await watched([a1, a1], { clock, waitMs: 16_000, requestTimeoutMs: 2_000 });
    const quiet = await test.agent.received(anything, 2);
    assert.equal(quiet.query.get("wait"), "16000ms");
    await clock.advance(18_999);
    assert.deepEqual(test.events, []);
    await clock.advance(1);
    const failed = await test.told("watch_failed");
    assert.ok(failed.type === "watch_failed" && failed.error.code === "ERR_REGISTRY_TIMEOUT");
  });

  it("backs off with full jitter while it fails, from 0.25 s up to the cap, and from the start after a success", async () => {
    const clock = new FakeClock();
    const delays: number[] = [];
    const noting = notingClock(clock, (delayMs) => delays.push(delayMs));
    const answers: ScriptedAnswer[] = ["cut", "cut", "cut", "cut", a1, "cut"];
    await using test = await watched([a1, ...answers], { clock: noting, maxBackoffMs: 600, random: () => 0.999 });
    const waits: number[] = [];
    for (let failures = 1; failures <= 5; failures++) {
      await test.told("watch_failed", failures);
      const waitMs = delays.at(-1) ?? 0;
      waits.push(waitMs);
      await clock.advance(waitMs);
    }
    assert.deepEqual(waits, [249, 499, 599, 599, 249]);
  });

  it("tells once more after a load that failed, for that load has missed the change", async () => {
    await using test = await watched([a1, a1, answerOf(8, "a: 2")], { maxTries: 1 });
    await test.changed(1);
    await test.agent.received(anything, 3);
    test.agent.play(() => ({ status: 500 }));
    await assert.rejects(test.source.load({ signal: never }));
    test.agent.play((request) => (isFirst(request) ? answerOf(8, "a: 2") : "hang"));
    assert.equal(test.changes(), 1);
    // the query that hangs is cut, so that the watch asks anew
    test.agent.cut();
    await test.changed(2);
    await test.agent.received(({ query }) => query.get("index") === "8", 2);
    assert.equal(test.changes(), 2);
  });

  it("goes on when the one it tells throws, and says so", async () => {
    await using agent = await ScriptedAgent.start(() => a1);
    const events: ConsulConfigEvent[] = [];
    const source = consulConfig({
      key: "config/notes",
      address: agent.address,
      environment: {},
      maxRequestsPerSecond: 1_000,
      maxBackoffMs: 1,
      onEvent: (event) => events.push(event),
    });
    await source.load({ signal: never });
    const left = [a1, answerOf(8, "a: 2"), answerOf(8, "a: 2"), answerOf(9, "a: 3")];
    agent.play(() => left.shift() ?? "hang");
    const over = new AbortController();
    let changes = 0;
    const third = Promise.withResolvers<void>();
    source.watch?.(
      () => {
        if (++changes === 1) throw new Error("the listener broke");
        third.resolve();
      },
      { signal: over.signal },
    );
    await third.promise;
    over.abort();
    const [failed] = events;
    assert.ok(failed?.type === "watch_failed" && failed.error.message === "the listener broke");
    assert.equal(changes, 2);
  });

  it("warns the process once when a watch begins to fail and nobody listens", async () => {
    await using test = await watched([a1, "cut", "cut"], { onEvent: undefined, last: "cut" });
    const [warning] = await once(process, "warning");
    assert.ok(warning instanceof Error && warning.name === "ConsulConfigWarning");
    assert.match(warning.message, /^the watch of consul:config\/notes fails, and goes on trying: GET /);
    let more = 0;
    const count = (): void => void more++;
    process.on("warning", count);
    await test.agent.received(anything, 4);
    process.off("warning", count);
    assert.equal(more, 0);
  });

  it("goes on when onEvent throws, and warns of it", async () => {
    await using test = await watched([a1, "cut", answerOf(8, "a: 2")], {
      onEvent: () => {
        throw new Error("the listener broke");
      },
    });
    const warned = once(process, "warning");
    await test.changed(1);
    const [warning] = await warned;
    assert.ok(warning instanceof Error);
    assert.equal(warning.message, "onEvent threw at watch_failed of consul:config/notes: the listener broke");
  });

  it("serves two watches of one source, each told of every change", async () => {
    await using test = await watched([a1, a1, a1]);
    let others = 0;
    const both = new AbortController();
    const told = Promise.withResolvers<void>();
    await test.agent.received(anything);
    test.source.watch?.(
      () => {
        others++;
        told.resolve();
      },
      { signal: both.signal },
    );
    await test.agent.received(({ query }) => query.get("index") === "7", 2);
    test.agent.play((request) => (isFirst(request) ? answerOf(8, "a: 2") : "hang"));
    test.agent.cut();
    await Promise.all([test.changed(1), told.promise]);
    both.abort();
    assert.deepEqual([test.changes(), others], [1, 1]);
  });
});

describe("the end of a watch", limits, () => {
  it("lets go of its one connection at once, in a query", async () => {
    await using test = await watched([a1, a1]);
    const blocked = await test.agent.received(anything, 2);
    test.end(new Error("enough"));
    await blocked.closed;
    assert.deepEqual(test.events, []);
    assert.equal(test.agent.requests.length, 2);
  });

  it("comes at once while it waits to try again, and leaves no timer", async () => {
    const clock = new FakeClock();
    await using test = await watched([a1], { last: { status: 500 }, clock, random: () => 0.999 });
    const [first] = test.agent.requests;
    await test.told("watch_failed");
    assert.equal(clock.pending, 1);
    test.end();
    await (first ?? (await test.agent.received(anything))).closed;
    assert.equal(clock.pending, 0);
    await clock.advance(60_000);
    assert.equal(test.agent.requests.length, 1);
  });

  it("comes at once while it keeps its pace", async () => {
    const clock = new FakeClock();
    const paced = Promise.withResolvers<void>();
    const noting = notingClock(clock, (delayMs) => {
      if (delayMs === 1_000) paced.resolve();
    });
    await using test = await watched([a1], { last: a1, clock: noting, maxRequestsPerSecond: 1 });
    const second = await test.agent.received(anything, 2);
    await paced.promise;
    const endedAtMs = performance.now();
    test.end();
    await second.closed;
    assert.ok(performance.now() - endedAtMs < 1_000, "the connection was left to its idle limit");
    assert.equal(clock.pending, 0);
  });

  it("may come before the watch: then nothing is asked", async () => {
    await using agent = await ScriptedAgent.start(() => a1);
    const source = consulConfig({ key: "config/notes", address: agent.address, environment: {} });
    source.watch?.(() => assert.fail("told after the end"), { signal: AbortSignal.abort() });
    await source.load({ signal: never });
    assert.equal(agent.requests.length, 1);
  });

  it("keeps what has come meanwhile to itself", async () => {
    await using test = await watched([a1, a1]);
    await test.agent.received(anything);
    const answer = Promise.withResolvers<ScriptedAnswer>();
    test.agent.play(() => answer.promise);
    const blocked = await test.agent.received(anything, 2);
    answer.resolve(answerOf(8, "a: 2"));
    test.end();
    await blocked.closed;
    assert.deepEqual([test.changes(), test.events], [0, []]);
  });
});
