import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "@plinth/kernel";
import { FakeClock, until } from "@plinth/kernel/testing";
import type { InstanceSet, Registry, RegistryEvent } from "../registry.ts";
import {
  type Script,
  ScriptedAgent,
  type ScriptedAnswer,
  scriptedEntry,
  type ScriptedRequest,
  waitForSet,
} from "../testing/index.ts";
import { type ConsulRegistryOptions, createConsulRegistry } from "./consul-registry.ts";

const limits = { timeout: 20_000 };

/** Answers in turn; then `last` for ever. */
function inTurn(answers: readonly ScriptedAnswer[], last: ScriptedAnswer = "hang"): () => ScriptedAnswer {
  const left = [...answers];
  return () => left.shift() ?? last;
}

function ids({ instances }: InstanceSet): string[] {
  return instances.map(({ id }) => id);
}

const isHealth = ({ path }: ScriptedRequest): boolean => path === "/v1/health/service/notes";
/** Asked when a service has no instances any more: whether the token may read them at all. */
const isReadable = ({ path }: ScriptedRequest): boolean => path === "/v1/agent/health/service/name/notes";
const indexOf = ({ query }: ScriptedRequest): string | null => query.get("index");

interface Watched extends AsyncDisposable {
  readonly agent: ScriptedAgent;
  readonly own: Registry;
  readonly events: RegistryEvent[];
}

async function watched(script: Script, options: ConsulRegistryOptions = {}): Promise<Watched> {
  const agent = await ScriptedAgent.start((request) =>
    isReadable(request) ? { status: 404, body: [] } : script(request),
  );
  const events: RegistryEvent[] = [];
  const own = createConsulRegistry({
    address: agent.address,
    maxRequestsPerSecond: 1_000,
    maxBackoffMs: 5,
    emptyConfirmMs: 100,
    onEvent: (event) => events.push(event),
    ...options,
  });
  return {
    agent,
    own,
    events,
    async [Symbol.asyncDispose]() {
      await own.close();
      await agent[Symbol.asyncDispose]();
    },
  };
}

describe("the watch of a service in Consul", limits, () => {
  it("asks at once, then blocks on the index it was given", async () => {
    const body = [scriptedEntry("a-1")];
    await using test = await watched(inTurn([{ index: 7, body }]), { waitMs: 30_000, token: new Secret("t0ken") });
    const view = test.own.follow("notes");
    await view.ready;
    const second = await test.agent.received(isHealth, 2);
    const [first] = test.agent.requests;
    assert.deepEqual(Object.fromEntries(first!.query), { stale: "" });
    assert.deepEqual(Object.fromEntries(second.query), { stale: "", index: "7", wait: "30000ms" });
    assert.deepEqual([first!.headers["x-consul-token"], second.headers["x-consul-token"]], ["t0ken", "t0ken"]);
  });

  it("begins again at 0 when the index goes backwards", async () => {
    await using test = await watched(
      inTurn([
        { index: 90, body: [scriptedEntry("a-1")] },
        { index: 5, body: [scriptedEntry("a-2")] },
        { index: 6, body: [scriptedEntry("a-3")] },
      ]),
    );
    const view = test.own.follow("notes");
    const fourth = await test.agent.received(isHealth, 4);
    assert.deepEqual(test.agent.requests.map(indexOf), [null, "90", null, "6"]);
    assert.equal(fourth.query.get("wait"), "60000ms");
    assert.deepEqual(ids(view.current!), ["a-3"]);
    assert.deepEqual(
      test.events.filter(({ type }) => type === "watch_reset"),
      [{ type: "watch_reset", service: "notes", index: 5, previous: 90 }],
    );
  });

  for (const [what, index] of [
    ["0", 0],
    ["missing", undefined],
    ["no number", "abc"],
    ["negative", -1],
  ] as const) {
    it(`goes on when the index is ${what}, neither blocking for ever nor in a hot loop`, async () => {
      await using test = await watched(inTurn([], { index, body: [scriptedEntry("a-1")] }), {
        maxRequestsPerSecond: 50,
      });
      const startedAtMs = performance.now();
      const view = test.own.follow("notes");
      const last = await test.agent.received(isHealth, 12);
      assert.deepEqual(test.agent.requests.slice(0, 4).map(indexOf), [null, "1", null, "1"]);
      assert.ok(
        last.atMs - startedAtMs >= 195,
        `12 requests in ${last.atMs - startedAtMs} ms; 2 at once and 50 a second were allowed`,
      );
      assert.deepEqual([ids(view.current!), view.current!.revision], [["a-1"], 1]);
    });
  }

  it("asks no more often than allowed, whatever changes how fast", async () => {
    let version = 0;
    const script = (): ScriptedAnswer => ({
      index: ++version,
      body: [scriptedEntry("a-1", { Tags: [`v${version}`] })],
    });
    await using test = await watched(script, { maxRequestsPerSecond: 20 });
    const startedAtMs = performance.now();
    const view = test.own.follow("notes");
    const last = await test.agent.received(isHealth, 12);
    assert.ok(
      last.atMs - startedAtMs >= 495,
      `12 requests in ${last.atMs - startedAtMs} ms; 2 at once and 20 a second were allowed`,
    );
    assert.ok(view.current!.revision >= 11);
  });

  it("trusts the content, not the index: the same instances are no change", async () => {
    const [a, b] = [scriptedEntry("a-1", { Meta: { x: "1", y: "2" } }), scriptedEntry("a-2")];
    const turned = scriptedEntry("a-1", { Meta: { y: "2", x: "1" } });
    await using test = await watched(
      inTurn([
        { index: 1, body: [a, b] },
        { index: 2, body: [b, turned] },
        { index: 3, body: [a, b] },
      ]),
    );
    const view = test.own.follow("notes");
    await view.ready;
    const before = view.current!;
    await test.agent.received(isHealth, 4);
    assert.equal(view.current!.instances, before.instances);
    assert.equal(view.current!.revision, 1);
    assert.equal(test.events.filter(({ type }) => type === "changed").length, 1);
  });

  const failures: readonly (readonly [what: string, answer: ScriptedAnswer, code: string])[] = [
    ["500 without a leader", { status: 500, body: "No cluster leader" }, "ERR_REGISTRY_UNAVAILABLE"],
    ["429", { status: 429, body: "too many connections" }, "ERR_REGISTRY_UNAVAILABLE"],
    ["400", { status: 400, body: "bad" }, "ERR_REGISTRY_REJECTED"],
    ["403", { status: 403, body: "Permission denied" }, "ERR_REGISTRY_DENIED"],
    ["404", { status: 404 }, "ERR_REGISTRY_NOT_FOUND"],
    ["a cut connection", "cut", "ERR_REGISTRY_UNAVAILABLE"],
    ["text that is no JSON", { index: 9, body: "<html>" }, "ERR_REGISTRY_RESPONSE"],
    ["JSON that is no list", { index: 9, body: { error: "x" } }, "ERR_REGISTRY_RESPONSE"],
    ["more than it will read", { index: 9, body: "x".repeat(3_000) }, "ERR_REGISTRY_RESPONSE_SIZE"],
    ["no answer", "hang", "ERR_REGISTRY_TIMEOUT"],
  ];
  for (const [what, answer, code] of failures) {
    it(`keeps the last set, flagged stale, on ${what}, and begins again at 0`, async () => {
      const body = [scriptedEntry("a-1")];
      await using test = await watched(inTurn([{ index: 7, body }, answer], { index: 8, body }), {
        maxResponseBytes: 2_000,
        waitMs: 16,
        requestTimeoutMs: answer === "hang" ? 300 : 10_000, // a loaded machine may take long to answer
        maxRequestsPerSecond: 20,
      });
      const sets: InstanceSet[] = [];
      for await (const set of test.own.watch("notes")) {
        sets.push(set);
        if (set.stale) assert.equal(test.own.stats().services[0]!.error?.code, code);
        if (sets.length === 3) break;
      }
      assert.deepEqual(
        sets.map((set) => [ids(set), set.stale, set.revision]),
        [
          [["a-1"], false, 1],
          [["a-1"], true, 1],
          [["a-1"], false, 1],
        ],
      );
      assert.deepEqual(
        test.agent.requests.slice(0, 4).map(indexOf),
        [null, "7", null, "8"].slice(0, test.agent.requests.length),
      );
      const [failed, recovered] = test.events.filter(({ type }) => type.startsWith("watch_"));
      assert.ok(failed?.type === "watch_failed" && failed.error.code === code && failed.failures === 1);
      assert.equal(recovered?.type, "watch_recovered");
    });
  }

  it("gives a quiet query all the time that the agent may hold it", async () => {
    // waits 320 ms, and the agent may add a sixteenth
    const late = async (): Promise<ScriptedAnswer> => {
      const answer = Promise.withResolvers<ScriptedAnswer>();
      setTimeout(() => answer.resolve({ index: 7, body: [] }), 340);
      return answer.promise;
    };
    await using test = await watched(inTurn([]), { waitMs: 320, requestTimeoutMs: 250 });
    test.agent.play((request) => (indexOf(request) === null ? { index: 7, body: [] } : late()));
    test.own.follow("notes");
    await test.agent.received(isHealth, 4);
    assert.deepEqual(
      test.events.filter(({ type }) => type === "watch_failed"),
      [],
    );
  });

  it("backs off while it fails", async () => {
    await using test = await watched(inTurn([], { status: 500 }), { maxBackoffMs: 40, random: () => 0.999 });
    test.own.follow("notes");
    const [second, eighth] = [await test.agent.received(isHealth, 2), await test.agent.received(isHealth, 8)];
    assert.ok(eighth.atMs - second.atMs >= 6 * 38, `6 pauses of 39 ms took ${eighth.atMs - second.atMs} ms`);
  });

  it("skips a malformed entry alone, and tells of it once", async () => {
    const bad = [
      null,
      "text",
      { Service: { ID: "no-node" } },
      scriptedEntry("no-port", { Port: 0 }),
      scriptedEntry("bad-port", { Meta: { "plinth-grpc-port": "http" } }),
      scriptedEntry("bad-host", { Address: "a b" }),
      scriptedEntry("bad-tags", { Tags: [1] }),
      scriptedEntry(""),
      scriptedEntry("a\r\nb"),
      scriptedEntry("bad-identity", { Meta: { "plinth-identity": "a\r\nb: c" } }), // would go out in a header
      scriptedEntry("no-weight", { Weights: { Passing: 0 } }),
      scriptedEntry("big-weight", { Weights: { Passing: 1e300 } }),
    ];
    const answer = (index: number): ScriptedAnswer => ({
      index,
      body: [...bad, scriptedEntry("a-1"), scriptedEntry("a-2")],
    });
    await using test = await watched(inTurn([answer(1), answer(2)]));
    const view = test.own.follow("notes");
    await test.agent.received(isHealth, 3);
    assert.deepEqual(ids(view.current!), ["a-1", "a-2"]);
    const told = test.events.filter((event) => event.type === "entries_skipped");
    assert.equal(told.length, 1);
    assert.deepEqual(
      told[0]!.skipped.map(({ id }) => id),
      [
        "(no id)",
        "(no id)",
        "no-node",
        "no-port",
        "bad-port",
        "bad-host",
        "bad-tags",
        "",
        "a\r\nb",
        "bad-identity",
        "no-weight",
        "big-weight",
      ],
    );
    assert.match(told[0]!.skipped[3]!.problem, /^Service\.Port: 0 /);
  });

  it("doubts an empty answer until a second one, some time later, says the same", async () => {
    const full = { index: 5, body: [scriptedEntry("a-1")] };
    await using test = await watched(inTurn([full, { index: 6, body: [] }], { index: 6, body: [] }), {
      emptyConfirmMs: 80,
      maxRequestsPerSecond: 100,
    });
    const sets: InstanceSet[] = [];
    for await (const set of test.own.watch("notes")) {
      sets.push(set);
      if (set.instances.length === 0) break;
    }
    assert.deepEqual(
      sets.map((set) => [ids(set), set.stale]),
      [
        [["a-1"], false],
        [["a-1"], true],
        [[], false],
      ],
    );
    const [, answeredEmpty, emptied] = test.agent.requests.filter(isHealth);
    assert.ok(performance.now() - answeredEmpty!.atMs >= 80, "dropped before the time to confirm had passed");
    assert.ok(
      Number.parseInt(emptied!.query.get("wait") ?? "", 10) <= 80,
      "the confirming read waits no longer than needed",
    );
  });

  it("never shows the empty set when the instances come back meanwhile, or the agent fails", async () => {
    const full = { index: 5, body: [scriptedEntry("a-1")] };
    const empty = { index: 6, body: [] };
    await using test = await watched(
      inTurn([full, empty, "cut", empty, "cut", empty, { index: 7, body: [scriptedEntry("a-2")] }]),
      {
        emptyConfirmMs: 10_000,
      },
    );
    const seen: string[] = [];
    await waitForSet(test.own, "notes", (set) => {
      seen.push(ids(set).join());
      return ids(set).join() === "a-2";
    });
    assert.deepEqual([...new Set(seen)], ["a-1", "a-2"]);
  });

  const silentEntry = { ...entry("a-1"), Checks: [{ CheckID: "serfHealth", Status: "critical" }] };
  for (const [what, between] of [
    ["with instances", { index: 7, body: [scriptedEntry("a-1")] }],
    ["with those of silent machines", { index: 7, body: [silentEntry] }],
    ["from a server without a leader", { index: 7, headers: { "x-consul-knownleader": "false" }, body: [] }],
    ["that cannot be read", { index: 7, body: "{" }],
  ] as const) {
    it(`begins to count again when between two empty answers one comes ${what}`, async () => {
      const clock = new FakeClock();
      const full = { index: 5, body: [scriptedEntry("a-1")] };
      const empty = { index: 6, body: [] };
      const answers = inTurn([full, empty, between, between, between, between, between], empty);
      await using test = await watched(answers, {
        clock,
        maxRequestsPerSecond: 1,
        emptyConfirmMs: 4_000,
        requestTimeoutMs: 1_000_000,
      });
      const view = test.own.follow("notes");
      const asked = (): number => test.events.filter(({ type }) => type === "request_ended").length;
      await view.ready;
      let emptyAtMs: number | undefined;
      while (view.current!.instances.length > 0) {
        const before = asked();
        await clock.advance(1_000);
        await until(() => asked() > before);
        await new Promise(setImmediate);
        if (test.events.filter(({ type }) => type === "empty_answer").length === 2) emptyAtMs ??= clock.monotonicMs();
        assert.ok(clock.monotonicMs() < 60_000);
      }
      assert.ok(
        emptyAtMs !== undefined && clock.monotonicMs() - emptyAtMs >= 3_000,
        "dropped without a second time to confirm",
      );
    });
  }

  it("takes no empty answer for the truth that the token may not read, and says so", async () => {
    const full = { index: 5, body: [scriptedEntry("a-1")] };
    let mayRead = false;
    const answers = inTurn([full], { index: 6, body: [] });
    const agent = await ScriptedAgent.start((request) =>
      isReadable(request)
        ? mayRead
          ? { status: 404, body: [] }
          : { status: 403, body: "Permission denied" }
        : answers(),
    );
    const failures: string[] = [];
    const own = createConsulRegistry({
      address: agent.address,
      maxBackoffMs: 5,
      emptyConfirmMs: 0,
      maxRequestsPerSecond: 1_000,
      onEvent: (event) => void (event.type === "watch_failed" && failures.push(event.error.code)),
    });
    try {
      const view = own.follow("notes");
      await waitForSet(own, "notes", ({ stale }) => stale);
      assert.deepEqual(ids(view.current!), ["a-1"]);
      assert.deepEqual([...new Set(failures)], ["ERR_REGISTRY_DENIED"]);
      mayRead = true;
      await waitForSet(own, "notes", ({ instances, stale }) => instances.length === 0 && !stale);
    } finally {
      await own.close();
      await agent[Symbol.asyncDispose]();
    }
  });

  it("keeps instances that only the silence of their machines speaks against, while there is no other", async () => {
    const on = (id: string, machine: string, ready: string): unknown => ({
      ...entry(id),
      Checks: [
        { CheckID: "serfHealth", Status: machine },
        { CheckID: `${id}:ready`, Status: ready },
      ],
    });
    const answers = [
      [on("a-1", "passing", "passing"), on("a-2", "passing", "passing")],
      [on("a-1", "critical", "passing"), on("a-2", "critical", "critical")],
      [on("a-1", "critical", "passing"), on("a-2", "critical", "critical"), scriptedEntry("a-3")],
    ].map((body, at) => ({ index: at + 5, body }));
    await using test = await watched(inTurn(answers), { emptyConfirmMs: 0 });
    const seen: unknown[] = [];
    for await (const set of test.own.watch("notes")) {
      seen.push([ids(set).join(), set.stale]);
      if (ids(set).join() === "a-3") break;
    }
    assert.deepEqual(seen.at(0), ["a-1,a-2", false]);
    assert.deepEqual(seen.at(-1), ["a-3", false]);
    assert.ok(!seen.some((each) => JSON.stringify(each).startsWith('[""')), JSON.stringify(seen));

    await using late = await watched(inTurn([answers[1]!]), { emptyConfirmMs: 0 });
    const view = late.own.follow("notes");
    await waitForSet(late.own, "notes", ({ stale }) => stale);
    assert.deepEqual(ids(view.current!), ["a-1"], "who comes only then has those that may live");
    assert.equal(late.own.stats().services[0]!.error?.code, "ERR_REGISTRY_UNCONFIRMED");
  });

  it("drops those of silent machines after a while, confirmed as any empty answer is", async () => {
    const clock = new FakeClock();
    const silent = { ...entry("a-1"), Checks: [{ CheckID: "serfHealth", Status: "critical" }] };
    await using test = await watched(
      inTurn([{ index: 5, body: [scriptedEntry("a-1")] }], { index: 6, body: [silent] }),
      {
        clock,
        maxRequestsPerSecond: 1,
        silentKeepMs: 30_000,
        emptyConfirmMs: 6_000,
        requestTimeoutMs: 1_000_000,
      },
    );
    const view = test.own.follow("notes");
    const ended = (): number => test.events.filter(({ type }) => type === "request_ended").length;
    const shown: string[] = [];
    for (let second = 0; second < 40; second++) {
      const before = ended();
      await clock.advance(1_000);
      await until(() => ended() > before && view.current !== undefined);
      const { current } = view;
      const next = `${ids(current!).join()} ${current!.stale ? "stale" : "confirmed"}`;
      if (shown.at(-1)?.endsWith(next) !== true) shown.push(`${second} s: ${next}`);
    }
    assert.equal(test.events.filter(({ type }) => type === "empty_answer").length, 1);
    assert.match(shown.join("; "), /^0 s: a-1 confirmed; \d s: a-1 stale; 3[5-9] s: {2}confirmed$/);
    const [, , third] = test.agent.requests.filter(isHealth);
    assert.equal(third!.query.get("wait"), "30000ms", "asks again when they are to be dropped");
  });

  it("keeps none of silent machines where it must not", async () => {
    const silent = { ...entry("a-1"), Checks: [{ CheckID: "serfHealth", Status: "critical" }] };
    await using test = await watched(inTurn([], { index: 5, body: [silent] }), { silentKeepMs: 0, emptyConfirmMs: 0 });
    const set = await waitForSet(test.own, "notes", () => true);
    assert.deepEqual([ids(set), set.stale], [[], false]);
  });

  it("resolves, as it watches, to those of silent machines where there are no others", async () => {
    const silent = { ...entry("a-1"), Checks: [{ CheckID: "serfHealth", Status: "critical" }] };
    await using test = await watched(
      inTurn([{ index: 5, body: [silent] }], { index: 5, body: [silent, scriptedEntry("a-2")] }),
    );
    const alone = await test.own.resolve("notes");
    assert.deepEqual([ids(alone), alone.stale], [["a-1"], true]);
    const beside = await test.own.resolve("notes");
    assert.deepEqual([ids(beside), beside.stale], [["a-2"], false]);
  });

  it("takes an empty answer at once when nothing was known", async () => {
    await using test = await watched(inTurn([{ index: 5, body: [] }]), { emptyConfirmMs: 60_000 });
    const view = test.own.follow("notes");
    await view.ready;
    assert.deepEqual([view.current!.instances, view.current!.stale], [[], false]);
  });

  it("asks once however many watch, follow and resolve", async () => {
    await using test = await watched(inTurn([{ index: 5, body: [scriptedEntry("a-1")] }]));
    const views = Array.from({ length: 50 }, () => test.own.follow("notes"));
    await Promise.all(views.map(({ ready }) => ready));
    const sets = await Promise.all(
      Array.from({ length: 50 }, () => waitForSet(test.own, "notes", ({ instances }) => instances.length === 1)),
    );
    for (let at = 0; at < 50; at++) assert.equal(await test.own.resolve("notes"), sets[at]);
    await test.agent.received(isHealth, 2);
    assert.equal(test.agent.requests.length, 2);
  });

  it("lets go of the agent at once when the last one leaves", async () => {
    await using test = await watched(inTurn([{ index: 5, body: [] }]));
    const [first, last] = [test.own.follow("notes"), test.own.follow("notes")];
    const blocked = await test.agent.received(isHealth, 2);
    first.close();
    assert.equal(test.own.stats().services.length, 1);
    const endedAtMs = performance.now();
    last.close();
    await blocked.closed;
    assert.ok(performance.now() - endedAtMs < 1_000);
    assert.deepEqual(test.own.stats().services, []);
    assert.deepEqual(
      test.events.filter(({ type }) => type === "watch_failed"),
      [],
    );
  });

  it("resolves what nobody follows by one read, and fails when there is no answer", async () => {
    await using test = await watched(
      inTurn([{ index: 5, body: [scriptedEntry("a-1")] }], { status: 500, body: "No cluster leader" }),
    );
    assert.deepEqual(ids(await test.own.resolve("notes")), ["a-1"]);
    await assert.rejects(test.own.resolve("notes"), {
      code: "ERR_REGISTRY_UNAVAILABLE",
      retryable: true,
      message: /^GET \/v1\/health\/service\/notes at http:\/\/127\.0\.0\.1:\d+ was answered 500: No cluster leader$/,
    });
    test.agent.play(() => "hang");
    const late = new AbortController();
    const reading = test.own.resolve("notes", { signal: late.signal });
    await test.agent.received(isHealth, 3);
    late.abort(new Error("not wanted any more"));
    await assert.rejects(reading, { message: "not wanted any more" });
  });

  it("tells two entries of one id apart by their nodes, and takes the same address for one", async () => {
    const at = (node: string, service: object): unknown => ({
      Node: { Node: node, Address: "10.0.0.9" },
      Service: { ID: "web", Address: "", Port: 80, ...service },
    });
    const body = [
      at("n1", {}),
      at("n2", {}),
      at("n3", { Port: 81 }),
      scriptedEntry("a-1", { Tags: null, Meta: null, Weights: null }),
    ];
    await using test = await watched(inTurn([{ index: 5, body }]));
    const { instances } = await test.own.resolve("notes");
    assert.deepEqual(
      instances.map(({ id, host, ports }) => [id, host, ports.http]),
      [
        ["a-1", "127.0.0.1", 3_000],
        ["web@n1", "10.0.0.9", 80],
        ["web@n3", "10.0.0.9", 81],
      ],
    );
  });

  it("shows passing and warning instances, and counts the others by what keeps them out", async () => {
    const check = (id: string, status: string): unknown => ({ CheckID: id, Status: status, ServiceID: "any" });
    const body = [
      scriptedEntry("a-1"),
      { ...entry("a-2"), Checks: [check("serfHealth", "passing"), check("a-2:ready", "warning")] },
      { ...entry("a-3"), Checks: [check("serfHealth", "critical"), check("a-3:ready", "passing")] },
      { ...entry("a-4"), Checks: [check("_service_maintenance:a-4", "critical"), check("a-4:ready", "critical")] },
      { ...entry("a-5"), Checks: [check("_node_maintenance", "critical")] },
      { ...entry("a-6"), Checks: [check("a-6:ready", "what is this")] },
    ];
    await using test = await watched(inTurn([{ index: 5, body }]));
    const view = test.own.follow("notes");
    await view.ready;
    assert.deepEqual(
      view.current!.instances.map(({ id, status, weight }) => [id, status, weight]),
      [
        ["a-1", "passing", 1],
        ["a-2", "warning", 1],
      ],
    );
    assert.deepEqual(test.own.stats().services[0]!.states, { passing: 1, warning: 1, critical: 2, maintenance: 2 });
  });

  it("takes a dead twin of an instance neither for another one nor for its state", async () => {
    const dead = [{ CheckID: "serfHealth", Status: "critical" }];
    const moved = { ...entry("a-1", { Port: 4_000 }), Node: { Node: "node-2", Address: "10.0.0.2" }, Checks: dead };
    const gone = { ...entry("a-1"), Node: { Node: "node-3", Address: "10.0.0.3" }, Checks: dead };
    await using test = await watched(inTurn([{ index: 5, body: [moved, gone, scriptedEntry("a-1")] }]));
    const view = test.own.follow("notes");
    await view.ready;
    assert.deepEqual(ids(view.current!), ["a-1"]);
    assert.equal(view.current!.instances[0]!.ports.http, 3_000);
    assert.deepEqual(test.own.stats().services[0]!.states, { passing: 1, warning: 0, critical: 1, maintenance: 0 });
  });

  for (const [what, headers] of [
    ["knows no leader", { "x-consul-knownleader": "false", "x-consul-lastcontact": "0" }],
    ["has not heard of it for too long", { "x-consul-knownleader": "true", "x-consul-lastcontact": "10001" }],
  ] as const) {
    it(`keeps the last set, flagged stale, while the server that answers ${what}, and tells of it once`, async () => {
      const old = (index: number, id: string): ScriptedAnswer => ({ index, headers, body: [scriptedEntry(id)] });
      const fresh = Promise.withResolvers<ScriptedAnswer>();
      const answers = inTurn([{ index: 5, body: [scriptedEntry("a-1")] }, old(6, "old"), old(7, "older")]);
      let asked = 0;
      await using test = await watched(() => (++asked === 4 ? fresh.promise : answers()));
      const view = test.own.follow("notes");
      await view.ready;
      const fourth = await test.agent.received(isHealth, 4);
      assert.deepEqual([ids(view.current!), view.current!.stale], [["a-1"], true]);
      assert.equal(test.own.stats().services[0]!.error?.code, "ERR_REGISTRY_STALE");
      assert.ok(Number.parseInt(fourth.query.get("wait")!, 10) <= 5_000, "asks again soon");
      test.agent.play(inTurn([{ index: 9, body: [scriptedEntry("a-2")] }]));
      fresh.resolve({ index: 8, body: [scriptedEntry("a-2")] });
      await waitForSet(test.own, "notes", (set) => !set.stale && ids(set).join() === "a-2");
      assert.equal(test.own.stats().services[0]!.error, undefined);
      const sixth = await test.agent.received(isHealth, 6);
      assert.equal(sixth.query.get("wait"), "60000ms", "asks as rarely as before");
      const told = test.events.map(({ type }) => type).filter((type) => /stale_|fresh_/.test(type));
      assert.deepEqual(told, ["stale_answer", "stale_answers", "stale_answer", "fresh_answers"]);
    });
  }

  it("takes an old answer where nothing is known, flagged stale and as old as it is", async () => {
    const headers = { "x-consul-knownleader": "true", "x-consul-lastcontact": "60000" };
    await using test = await watched(inTurn([{ index: 5, headers, body: [scriptedEntry("a-1")] }]));
    const resolved = await test.own.resolve("notes");
    assert.deepEqual([ids(resolved), resolved.stale], [["a-1"], true]);
    test.agent.play(inTurn([{ index: 5, headers, body: [scriptedEntry("a-1")] }]));
    const view = test.own.follow("notes");
    await view.ready;
    assert.deepEqual([ids(view.current!), view.current!.stale], [["a-1"], true]);
    assert.ok(view.current!.ageMs >= 60_000);
  });

  it("serves all filters of a service by one watch", async () => {
    const body = [scriptedEntry("a-1", { Tags: ["blue"] }), scriptedEntry("a-2", { Meta: { "plinth-zone": "z1" } })];
    await using test = await watched(inTurn([{ index: 5, body }]));
    const views = [
      test.own.follow("notes"),
      test.own.follow("notes", { filter: { tags: ["blue"] } }),
      test.own.follow("notes", { filter: { zone: "z1" } }),
      test.own.follow("notes", { filter: { preferZone: { zone: "z1" } } }),
    ];
    await Promise.all(views.map(({ ready }) => ready));
    assert.deepEqual(
      views.map(({ current }) => ids(current!)),
      [["a-1", "a-2"], ["a-1"], ["a-2"], ["a-2"]],
    );
    assert.equal(await test.own.resolve("notes", { filter: { zone: "z1" } }), views[2]!.current);
    await test.agent.received(isHealth, 2);
    assert.deepEqual(test.agent.requests.map(indexOf), [null, "5"]);
  });

  it("lists all services with their instances by state, and fails when one cannot be read", async () => {
    await using test = await watched(() => "hang");
    test.agent.play(({ path }) => {
      if (path === "/v1/catalog/services") return { index: 3, body: { notes: ["a"], consul: [], gone: [] } };
      if (path.endsWith("/gone")) return { index: 3, body: [] };
      const warning = [{ CheckID: "x", Status: "warning" }];
      return { index: 3, body: [scriptedEntry("a-1", { Tags: ["b"] }), { ...entry("a-2"), Checks: warning }, null] };
    });
    assert.deepEqual(await test.own.services(), [
      { service: "consul", passing: 1, warning: 1, critical: 0, tags: ["b"] },
      { service: "gone", passing: 0, warning: 0, critical: 0, tags: [] },
      { service: "notes", passing: 1, warning: 1, critical: 0, tags: ["b"] },
    ]);
    test.agent.play(({ path }) => (path.endsWith("/notes") ? { status: 500 } : { index: 3, body: { notes: [] } }));
    await assert.rejects(test.own.services(), { code: "ERR_REGISTRY_UNAVAILABLE" });
    await assert.rejects(test.own.services({ signal: AbortSignal.abort(new Error("no more")) }), {
      message: "no more",
    });
  });
});

function entry(id: string, service: Readonly<Record<string, unknown>> = {}): object {
  const made = scriptedEntry(id, service);
  assert.ok(typeof made === "object" && made !== null);
  return made;
}
