import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { z } from "zod";
import { startHttp, type TestHttp } from "../testing/http.ts";

/** Handlers of code without types. */
const untyped = (value: unknown): never => value as never;

async function assertMisfit(http: TestHttp, path: string, message: RegExp | string): Promise<void> {
  const response = await http.fetch(path);
  const text = await response.text();
  const { code, detail } = JSON.parse(text);
  assert.deepEqual([response.status, code], [500, "ERR_INTERNAL"]);
  assert.match(detail, /^The server failed/);
  assert.doesNotMatch(text, /secret/);
  const [report, ...more] = await http.reports();
  assert.equal(more.length, 0);
  assert.equal(report?.error.code, "ERR_REPLY_INVALID");
  if (typeof message === "string") assert.equal(report.error.message, message);
  else assert.match(report.error.message, message);
}

describe("the schemas of a route's replies", () => {
  it("make what leaves of what the handler sends: defaults, dates, texts of other kinds, no field more", async () => {
    const reply = z.object({
      at: z.date(),
      day: z.date().transform((date) => date.toISOString().slice(0, 10)),
      tags: z.array(z.string()).default([]),
      open: z.stringbool(),
      inner: z.object({ a: z.number() }),
    });
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", { schema: { response: { 200: reply } } }, async () => {
          const at = new Date(0);
          const inner = { a: 1, secret: 2 };
          return { at, day: at, open: "no", inner, secret: 3 };
        }),
    });
    assert.deepEqual(await (await http.fetch("/")).json(), {
      at: "1970-01-01T00:00:00.000Z",
      day: "1970-01-01",
      tags: [],
      open: false,
      inner: { a: 1 },
    });
  });

  it("refuse a reply that does not fit: nothing of it leaves, and the report names route, status and fields", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get(
          "/notes/:id",
          { schema: { response: { 200: z.object({ id: z.uuid(), n: z.number() }) } } },
          async () => untyped({ id: "secret", n: "secret" }),
        ),
    });
    await assertMisfit(
      http,
      "/notes/1",
      "the reply of GET /notes/:id with status 200 does not fit its schema: /id Invalid UUID; /n expected number, received string",
    );
  });

  it("name the first ten faults of many", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", { schema: { response: { 200: z.array(z.number()) } } }, async () =>
          untyped(Array.from({ length: 5_000 }, () => "secret")),
        ),
    });
    await assertMisfit(http, "/", /\/9 expected number, received string; and 4990 more$/);
  });

  it("are those of the status: exact, then its class, then the default, else none", async () => {
    const of = (kind: string) => z.object({}).transform(() => ({ kind }));
    await using http = await startHttp({
      routes: (app) => {
        const response = { 200: of("exact"), "2xx": of("class"), default: of("default") };
        app.get("/:status", { schema: { response } }, async (request, reply) =>
          reply.code(untyped(Number(Reflect.get(Object(request.params), "status")))).send(untyped({})),
        );
        app.get("/none/:status", { schema: { response: { 200: of("exact") } } }, async (_request, reply) =>
          reply.code(untyped(202)).send(untyped({ kind: "own" })),
        );
      },
    });
    const kindAt = async (path: string): Promise<unknown> =>
      Reflect.get(Object(await (await http.fetch(path)).json()), "kind");
    assert.deepEqual(await Promise.all(["/200", "/201", "/404", "/none/202"].map(kindAt)), [
      "exact",
      "class",
      "default",
      "own",
    ]);
  });

  it("are those of the media type where a reply has several", async () => {
    const of = (kind: string) => z.object({}).transform(() => ({ kind }));
    await using http = await startHttp({
      routes: (app) => {
        const content = { "application/json": { schema: of("json") }, "application/Vnd.a+json": { schema: of("own") } };
        app.get("/json", { schema: { response: { 200: { content } } } }, async (_, reply) => reply.send({}));
        app.get("/own", { schema: { response: { 200: { content } } } }, async (_, reply) =>
          reply.type("application/vnd.A+json; charset=utf-8").send({}),
        );
      },
    });
    const kindAt = async (path: string): Promise<unknown> => (await http.fetch(path)).json();
    assert.deepEqual(await Promise.all(["/json", "/own"].map(kindAt)), [{ kind: "json" }, { kind: "own" }]);
  });

  it("may validate asynchronously, and may fail at that: the server's fault, reported once", async () => {
    const slow = (fail: () => void): StandardSchemaV1<object, object> => ({
      "~standard": {
        version: 1,
        vendor: "test",
        validate: async (value) => {
          await new Promise(setImmediate);
          fail();
          return { value: { seen: value } };
        },
      },
    });
    const sync: StandardSchemaV1<object, object> = {
      "~standard": { version: 1, vendor: "test", validate: () => raise(new Error("at once")) },
    };
    for (const [schema, message] of [
      [slow(() => raise(new Error("later"))), "later"],
      [slow(() => raise(undefined)), "a schema's validation rejected"],
      [sync, "at once"],
    ] as const) {
      await using http = await startHttp({
        routes: (app) => void app.get("/", { schema: { response: { 200: schema } } }, async () => ({})),
      });
      assert.equal((await http.fetch("/")).status, 500);
      const reports = await http.reports();
      assert.equal(reports.length, 1);
      assert.match(reports.map(({ error }) => error.message).join(), new RegExp(message));
    }
    await using http = await startHttp({
      routes: (app) => void app.get("/", { schema: { response: { 200: slow(() => {}) } } }, async () => ({ a: 1 })),
    });
    assert.deepEqual(await (await http.fetch("/")).json(), { seen: { a: 1 } });
  });

  it("see what the route's own hooks have made of a reply, and no error", async () => {
    await using http = await startHttp({
      routes: (app) => {
        const response = {
          200: z.object({ wrapped: z.object({ a: z.number() }) }),
          500: z.object({ never: z.string() }),
        };
        app.get(
          "/",
          { schema: { response }, preSerialization: async (_request, _reply, payload) => ({ wrapped: payload }) },
          async () => untyped({ a: 1 }),
        );
        app.get("/error", { schema: { response } }, async () => raise(new Error("broken")));
      },
    });
    assert.deepEqual(await (await http.fetch("/")).json(), { wrapped: { a: 1 } });
    const problem = await http.fetch("/error");
    assert.deepEqual([problem.status, problem.headers.get("content-type")], [500, "application/problem+json"]);
  });

  it("do not see texts, bytes and streams: these are written already", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", { schema: { response: { 200: z.object({}) } } }, async (_, reply) =>
          reply.type("application/json").send(untyped('{"by":"hand"}')),
        ),
    });
    assert.deepEqual(await (await http.fetch("/")).json(), { by: "hand" });
  });

  it("may stand beside JSON Schemas of other statuses, and refer to each other", async () => {
    const Even = z.object({
      get odd() {
        return Odd.optional();
      },
    });
    const Odd = z.object({
      get even() {
        return Even.optional();
      },
    });
    await using http = await startHttp({
      routes: (app) => {
        const plain = { type: "object", properties: { a: { type: "integer" } } };
        app.get("/", { schema: { response: { 200: Even, 202: plain } } }, async () => ({ odd: { even: {} } }));
        app.get("/202", { schema: { response: { 200: Even, 202: plain } } }, async (_, reply) =>
          reply.code(202).send({ a: 1, b: 2 }),
        );
      },
    });
    assert.equal(await (await http.fetch("/")).text(), '{"odd":{"even":{}}}');
    assert.equal(await (await http.fetch("/202")).text(), '{"a":1}');
  });

  it("are of one kind for all media types of a reply; a mixture is refused at the start", async () => {
    const content = { "application/json": { schema: z.object({}) }, "text/plain": { schema: { type: "string" } } };
    const starting = startHttp({
      routes: (app) => void app.get("/", { schema: { response: { 200: { content } } } }, async () => ({})),
    });
    await assert.rejects(starting, { name: "TypeError", message: /^the schemas of a reply's media types are all/ });
  });
});

function raise(thrown: unknown): never {
  throw thrown;
}
