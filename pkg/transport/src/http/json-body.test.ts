import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { startHttp, type TestHttp, type TestHttpOptions } from "../testing/http.ts";
import { faultOf } from "./json-body.ts";

const routes: TestHttpOptions["routes"] = (app) => {
  app.post("/", async ({ body }) => ({ body, polluted: Reflect.get({}, "admin") !== undefined }));
  app.get("/", async ({ query }) => ({ query, polluted: Reflect.get({}, "admin") !== undefined }));
};

function post(http: TestHttp, body: string, headers: Record<string, string> = {}) {
  return http.fetch("/", { method: "POST", body, headers: { "content-type": "application/json", ...headers } });
}

async function refused(http: TestHttp, body: string, detail: RegExp): Promise<void> {
  const reply = await post(http, body);
  const text = await reply.text();
  assert.equal(reply.status, 400, text);
  assert.match(text, /"code":"ERR_REQUEST_BODY"/);
  assert.match(text, detail);
}

const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
const withKeys = (count: number) =>
  JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, 0])));

describe("a JSON body", () => {
  it("may be nested as deep as the limit, and no deeper, in arrays and objects", async () => {
    await using http = await startHttp({ routes });
    assert.equal((await post(http, nested(64))).status, 200);
    await refused(http, nested(65), /nested more than 64 deep/);
    await refused(http, `${'{"a":'.repeat(65)}1${"}".repeat(65)}`, /nested more than 64 deep/);
    assert.equal((await post(http, JSON.stringify({ text: "[[[[".repeat(100) }))).status, 200);
    assert.equal((await post(http, JSON.stringify({ text: '\\"[['.repeat(100) }))).status, 200);
  });

  it("of a hundred thousand levels is refused without a stall, closed or not", async () => {
    await using http = await startHttp({ routes });
    await refused(http, nested(100_000), /nested more than 64 deep/);
    await refused(http, "[".repeat(100_000), /nested more than 64 deep/);
    await refused(http, '{"a":'.repeat(100_000), /nested more than 64 deep/);
    assert.equal((await post(http, "{}")).status, 200);
  });

  it("may have as many members in one object as the limit, and no more", async () => {
    await using http = await startHttp({ routes });
    assert.equal((await post(http, withKeys(10_000))).status, 200);
    await refused(http, withKeys(10_001), /more than 10000 members/);
    const rows = JSON.stringify(Array.from({ length: 20_000 }, (_, id) => ({ id, a: 1 })));
    assert.equal((await post(http, rows)).status, 200, "many small objects are no object of many members");
  });

  it("of a million members is refused without a stall", async () => {
    await using http = await startHttp({ routes, settings: { maxBodyBytes: 16_777_216 } });
    await refused(http, withKeys(1_000_000), /more than 10000 members/);
  });

  it("cannot name the prototype of what it becomes", async () => {
    await using http = await startHttp({ routes });
    for (const body of [
      '{"__proto__":{"admin":true}}',
      '{"a":[{"__proto__":{"admin":true}}]}',
      '{"\\u005f\\u005fproto__":{"admin":true}}',
      '{"constructor":{"prototype":{"admin":true}}}',
    ])
      await refused(http, body, /not valid JSON/);
    assert.partialDeepStrictEqual(await (await post(http, '{"constructor":"a mason"}')).json(), { polluted: false });
  });

  it("that names the prototype in a query reaches none either", async () => {
    await using http = await startHttp({ routes });
    for (const query of [
      "?__proto__[admin]=1",
      "?__proto__.admin=1",
      "?constructor[prototype][admin]=1",
      "?__proto__=1",
    ])
      assert.partialDeepStrictEqual(await (await http.fetch(`/${query}`)).json(), { polluted: false });
  });

  it("with a content-encoding that is not read is answered with 415", async () => {
    await using http = await startHttp({ routes });
    const reply = await post(http, "\u001f\u008b nonsense", { "content-encoding": "gzip" });
    assert.equal(reply.status, 415);
    assert.equal((await post(http, "{}", { "content-encoding": "identity" })).status, 200);
  });

  it("is read by a plugin's own parser where one is added, in its scope alone, and only once", async () => {
    await using http = await startHttp({
      routes: async (app) => {
        await app.register(async (scope) => {
          scope.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) =>
            done(null, { raw: body }),
          );
          assert.throws(
            () => scope.addContentTypeParser("application/json", (_request, _payload, done) => done(null)),
            {
              code: "FST_ERR_CTP_ALREADY_PRESENT",
            },
          );
          scope.post("/raw", async ({ body }) => body);
        });
        app.post("/", async ({ body }) => body);
      },
    });
    const send = { method: "POST", body: '{"a":1}', headers: { "content-type": "application/json" } };
    assert.deepEqual(await (await http.fetch("/raw", send)).json(), { raw: '{"a":1}' });
    assert.deepEqual(await (await http.fetch("/", send)).json(), { a: 1 });
  });
});

describe("faultOf", () => {
  const limits = { maxJsonDepth: 2, maxJsonKeys: 2 };
  for (const text of [
    "",
    "[]",
    "[[]]",
    "[[],[],[]]",
    '{"a":1,"b":{"c":1,"d":1}}',
    '"[[[["',
    '"\\"[[[["',
    '"\\\\"',
    "]]]]]]]]]][[]]",
    '"open [[[[',
    '{"a:b:c":1,"d":"::::"}',
  ])
    it(`passes ${text}`, () => assert.equal(faultOf(text, limits), undefined));
  for (const text of [
    "[[[]]]",
    '"\\\\"[[[',
    '{"a":{"b":[]}}    ',
    '{"a":1,"b":2,"c":3}',
    '[{"a":1,"b":{"x":1},"c":3}]',
  ])
    it(`refuses ${text}`, () => assert.equal(typeof faultOf(text, limits), "string"));
});
