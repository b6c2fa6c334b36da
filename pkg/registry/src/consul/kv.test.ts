import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type ConsulAgent, startConsul } from "../../../../scripts/servers/index.ts";
import { ScriptedAgent, type ScriptedAnswer } from "../testing/index.ts";
import { type ConsulKv, type ConsulKvOptions, createConsulKv } from "./kv.ts";

const textOf = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString();

describe("the key-value store of a real agent", { timeout: 40_000 }, () => {
  let agent: ConsulAgent;
  let kv: ConsulKv;
  before(async () => {
    agent = await startConsul();
    kv = createConsulKv({ address: agent.address });
  });
  after(async () => {
    await kv?.close();
    await agent?.stop();
  });

  it("gives back what was put, text and bytes, and nothing for a key that is not there", async () => {
    assert.equal(await kv.get("a/none"), undefined);
    assert.equal(await kv.put("a/text", "grüße: 1\n"), true);
    assert.equal(await kv.put("a/bytes", Uint8Array.of(0, 255, 10)), true);
    assert.equal(await kv.put("a/empty", ""), true);
    assert.equal(textOf((await kv.get("a/text"))?.value), "grüße: 1\n");
    assert.deepEqual([...((await kv.get("a/bytes"))?.value ?? [])], [0, 255, 10]);
    assert.equal((await kv.get("a/empty"))?.value.length, 0);
    assert.equal((await kv.get("a/text"))?.key, "a/text");
  });

  for (const key of ["b/with space", "b/per%cent", "b/a?b#c", "b/ümläut", "b/a+b=c&d", "b/..b"]) {
    it(`reaches the key ${JSON.stringify(key)} and no other`, async () => {
      await kv.put(key, "here");
      assert.equal(textOf((await kv.get(key))?.value), "here");
      assert.deepEqual(
        (await kv.list(key)).map((entry) => entry.key),
        [key],
      );
      await kv.delete(key);
      assert.equal(await kv.get(key), undefined);
    });
  }

  it("lists all that begins alike, by name", async () => {
    for (const key of ["c/z", "c/a/b", "c/a", "c", "cc"]) await kv.put(key, key);
    assert.deepEqual(
      (await kv.list("c/")).map(({ key, value }) => [key, textOf(value)]),
      [
        ["c/a", "c/a"],
        ["c/a/b", "c/a/b"],
        ["c/z", "c/z"],
      ],
    );
    assert.deepEqual(await kv.list("nothing/here/"), []);
  });

  it("writes and deletes with cas only what nobody has changed meanwhile", async () => {
    assert.equal(await kv.put("d", "first", { cas: 0 }), true);
    assert.equal(await kv.put("d", "second", { cas: 0 }), false);
    const first = await kv.get("d");
    assert.ok(first);
    assert.equal(await kv.put("d", "second", { cas: first.modifyIndex }), true);
    assert.equal(await kv.put("d", "third", { cas: first.modifyIndex }), false);
    assert.equal(await kv.delete("d", { cas: first.modifyIndex }), false);
    const second = await kv.get("d");
    assert.equal(textOf(second?.value), "second");
    assert.ok(second);
    assert.equal(await kv.delete("d", { cas: second.modifyIndex }), true);
    assert.equal(await kv.get("d"), undefined);
    assert.equal(await kv.delete("d"), true);
  });

  it("takes a value of 512 KiB, reads it back within its limit, and tells of a larger one", async () => {
    const largest = "x".repeat(512 * 1024);
    await kv.put("e", largest);
    assert.equal((await kv.get("e"))?.value.length, largest.length);
    await assert.rejects(kv.put("e", `${largest}x`), {
      code: "ERR_REGISTRY_REJECTED",
      message: /^PUT \/v1\/kv\/e at http:.*answered 413/,
    });
    const narrow = createConsulKv({ address: agent.address, maxResponseBytes: 100_000 });
    await assert.rejects(narrow.get("e"), {
      code: "ERR_REGISTRY_RESPONSE_SIZE",
      message: /\/v1\/kv\/e at http:.*raise maxResponseBytes/,
    });
    await narrow.close();
    await kv.delete("e");
  });

  it("asks the datacenter it is told to", async () => {
    const here = createConsulKv({ address: agent.address, datacenter: "dc1" });
    const away = createConsulKv({ address: agent.address, datacenter: "mars" });
    assert.equal(await here.put("f", "1"), true);
    assert.equal(textOf((await here.get("f"))?.value), "1");
    await assert.rejects(away.get("f"), { code: "ERR_REGISTRY_UNAVAILABLE", message: /mars|datacenter/i });
    await here.close();
    await away.close();
  });
});

describe("a key", () => {
  for (const key of ["", "/a", "a//b", "a/../b", ".", "a/.", "\uD800"]) {
    it(`must not be ${JSON.stringify(key)}, which an agent would take for another`, async () => {
      const kv = createConsulKv({ address: "127.0.0.1:1" });
      const expected = { code: "ERR_OPTION_RANGE", message: /^key must be / };
      await assert.rejects(kv.get(key), expected);
      await assert.rejects(kv.put(key, ""), expected);
      await assert.rejects(kv.delete(key), expected);
      await assert.rejects(kv.list(key), { code: "ERR_OPTION_RANGE", message: /^prefix must be / });
      await kv.close();
    });
  }
});

describe("what an agent may answer", { timeout: 20_000 }, () => {
  async function asked<T>(
    answer: ScriptedAnswer,
    ask: (kv: ConsulKv) => Promise<T>,
    options: ConsulKvOptions = {},
  ): Promise<T> {
    await using agent = await ScriptedAgent.start(() => answer);
    const kv = createConsulKv({ address: agent.address, requestTimeoutMs: 300, maxResponseBytes: 2_000, ...options });
    try {
      return await ask(kv);
    } finally {
      await kv.close();
    }
  }
  const entry = (more: object): object => ({
    Key: "a",
    Value: "aGk=",
    ModifyIndex: 7,
    Flags: 0,
    LockIndex: 0,
    ...more,
  });

  it("takes an entry with the fields it needs", async () => {
    const found = await asked({ body: [entry({})] }, (kv) => kv.get("a"));
    assert.deepEqual([found?.key, textOf(found?.value), found?.modifyIndex], ["a", "hi", 7]);
  });

  const bad: readonly (readonly [what: string, answer: ScriptedAnswer, code: string])[] = [
    ["a page instead of JSON", { body: "<html>" }, "ERR_REGISTRY_RESPONSE"],
    ["nothing at all", { body: "" }, "ERR_REGISTRY_RESPONSE"],
    ["no list", { body: entry({}) }, "ERR_REGISTRY_RESPONSE"],
    ["null in the list", { body: [null] }, "ERR_REGISTRY_RESPONSE"],
    ["another key", { body: [entry({ Key: "b" })] }, "ERR_REGISTRY_RESPONSE"],
    ["a value that is no base64", { body: [entry({ Value: "a:b=" })] }, "ERR_REGISTRY_RESPONSE"],
    ["a value cut short", { body: [entry({ Value: "aGk" })] }, "ERR_REGISTRY_RESPONSE"],
    ["a value that is a number", { body: [entry({ Value: 5 })] }, "ERR_REGISTRY_RESPONSE"],
    ["no modify index", { body: [entry({ ModifyIndex: undefined })] }, "ERR_REGISTRY_RESPONSE"],
    ["a 404 that is not Consul's", { status: 404, body: "no such page" }, "ERR_REGISTRY_NOT_FOUND"],
    ["a redirection", { status: 301 }, "ERR_REGISTRY_REJECTED"],
    ["500", { status: 500, body: "No cluster leader" }, "ERR_REGISTRY_UNAVAILABLE"],
    ["more than it will read", { body: "x".repeat(3_000) }, "ERR_REGISTRY_RESPONSE_SIZE"],
    ["no answer", "hang", "ERR_REGISTRY_TIMEOUT"],
    ["a cut connection", "cut", "ERR_REGISTRY_UNAVAILABLE"],
  ];
  for (const [what, answer, code] of bad) {
    it(`refuses ${what}, naming the key`, async () => {
      await assert.rejects(
        asked(answer, (kv) => kv.get("a")),
        { code, message: /\ba\b/ },
      );
      await assert.rejects(
        asked(answer, (kv) => kv.list("a/")),
        { code, message: /a\// },
      );
    });
  }

  it("refuses what is neither true nor false after a write", async () => {
    for (const write of [(kv: ConsulKv) => kv.put("a", ""), (kv: ConsulKv) => kv.delete("a")]) {
      await assert.rejects(asked({ body: "maybe" }, write), {
        code: "ERR_REGISTRY_RESPONSE",
        message: /for a .*maybe/,
      });
    }
  });

  it("says which policy the token needs", async () => {
    const denied = { status: 403, body: "Permission denied" };
    const code = "ERR_REGISTRY_DENIED";
    await assert.rejects(
      asked(denied, (kv) => kv.get("a")),
      { code, message: /key "a" \{ policy = "read" \}/ },
    );
    await assert.rejects(
      asked(denied, (kv) => kv.list("a/")),
      { code, message: /key_prefix "a\/" \{ policy = "read" \}/ },
    );
    await assert.rejects(
      asked(denied, (kv) => kv.put("a", "")),
      { code, message: /key "a" \{ policy = "write" \}/ },
    );
  });

  it("takes a list from which keys were left out for a refusal, not for an empty one", async () => {
    const filtered = { index: 5, headers: { "x-consul-results-filtered-by-acls": "true" } };
    for (const answer of [
      { ...filtered, status: 404 },
      { ...filtered, body: [entry({ Key: "a/b" })] },
    ]) {
      await assert.rejects(
        asked(answer, (kv) => kv.list("a/")),
        { code: "ERR_REGISTRY_DENIED", message: /keys of a\/ that the token may not read.*key_prefix "a\/"/ },
      );
    }
  });

  it("sends the token, and stops at once when told to", async () => {
    await using agent = await ScriptedAgent.start(() => "hang");
    const kv = createConsulKv({ address: agent.address, token: "t0ken" });
    const over = new AbortController();
    const reading = kv.get("a", { signal: over.signal });
    const request = await agent.received(() => true);
    assert.equal(request.headers["x-consul-token"], "t0ken");
    over.abort(new Error("not wanted"));
    await assert.rejects(reading, { message: "not wanted" });
    await request.closed;
    await kv.close();
    await assert.rejects(kv.get("a"), { code: "ERR_REGISTRY_CLOSED" });
  });
});
