import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { z } from "zod";
import { startHttp } from "../testing/http.ts";
import type { HttpApp } from "./server.ts";

/** Compiles only where both types are the same. */
function same<A, B>(..._proof: [A] extends [B] ? ([B] extends [A] ? [] : [never]) : [never]): void {}

const note = z.object({ id: z.number(), tags: z.array(z.string()).default([]) });

/** Of a library of one's own: says of its values no more than Standard Schema asks for. */
const celsius: StandardSchemaV1<string, number> = {
  "~standard": {
    version: 1,
    vendor: "own",
    validate: (value) => ({ value: typeof value === "string" ? Number.parseFloat(value) : 0 }),
  },
};

// The compiler is the test here: each line marked as an error must be one, and no other may.
const typedRoutes = (app: HttpApp): void => {
  app.get(
    "/notes/:id",
    {
      schema: {
        params: z.object({ id: z.coerce.number() }),
        querystring: z.object({ open: z.stringbool().optional() }),
        headers: z.object({ "x-tenant": z.string() }),
        response: { 200: note, 404: z.object({ why: z.string() }) },
      },
    },
    async ({ params, query, headers, body }, reply) => {
      same<typeof params, { id: number }>();
      same<typeof query, { open?: boolean | undefined }>();
      same<(typeof headers)["x-tenant"], string>();
      same<typeof body, unknown>();
      // @ts-expect-error -- there is no such parameter
      void params.nr;
      if (params.id === 1) return reply.code(404).send({ why: "gone" });
      // @ts-expect-error -- 404 has another reply
      if (params.id === 2) return reply.code(404).send({ id: 1 });
      // @ts-expect-error -- no reply of this status is in the schema
      if (params.id === 3) return reply.code(201).send({ id: 1 });
      return { id: params.id };
    },
  );
  app.post("/notes", { schema: { body: note, response: { 201: note } } }, async ({ body }, reply) => {
    same<typeof body, { id: number; tags: string[] }>();
    return reply.code(201).send(body);
  });
  // @ts-expect-error -- the handler's reply has no id
  app.get("/wrong", { schema: { response: { 200: note } } }, async () => ({ tags: [] }));
  // @ts-expect-error -- the handler's reply has an id of another kind
  app.get("/kind", { schema: { response: { 200: note } } }, () => ({ id: "1" }));
  app.get("/own", { schema: { querystring: celsius, response: { 200: celsius } } }, async ({ query }) => {
    same<typeof query, number>();
    return `${query} °C`;
  });
  const content = { "application/json": { schema: note }, "text/plain": { schema: z.string() } };
  app.post("/types", { schema: { body: { content } } }, async ({ body }) => {
    same<typeof body, string | { id: number; tags: string[] }>();
    return { kind: typeof body };
  });
  app.get("/plain", { schema: { querystring: { type: "object" } } }, async ({ query }) => {
    same<typeof query, unknown>();
    return "";
  });
};

describe("a typed route", () => {
  it("runs as it compiles", async () => {
    await using http = await startHttp({ routes: typedRoutes });
    const headers = { "x-tenant": "a" };
    const read = await http.fetch("/notes/7?open=no", { headers });
    assert.deepEqual(await read.json(), { id: 7, tags: [] });
    const gone = await http.fetch("/notes/1", { headers });
    assert.deepEqual([gone.status, await gone.json()], [404, { why: "gone" }]);
  });

  it("takes a body in each media type that it has a schema for, and refuses others with 415", async () => {
    await using http = await startHttp({ routes: typedRoutes });
    const post = (type: string, body: string) =>
      http.fetch("/types", { method: "POST", headers: { "content-type": type }, body });
    assert.deepEqual(await (await post("Application/JSON; charset=utf-8", '{"id":1}')).json(), { kind: "object" });
    assert.deepEqual(await (await post("text/plain", "text")).json(), { kind: "string" });
    const { errors } = JSON.parse(await (await post("application/json", '{"id":"x"}')).text());
    assert.deepEqual(errors, [{ pointer: "/id", detail: "expected number, received string" }]);
    await using narrow = await startHttp({
      routes: (app) => {
        const content = { "application/json": { schema: note } };
        app.post("/", { schema: { body: { content } } }, async () => assert.fail("it was reached"));
      },
    });
    const refused = await narrow.fetch("/", { method: "POST", headers: { "content-type": "text/plain" }, body: "x" });
    const { code, detail } = JSON.parse(await refused.text());
    assert.deepEqual([refused.status, code], [415, "ERR_REQUEST_MEDIA_TYPE"]);
    assert.equal(detail, "the media type of the body is not one that this route reads; send application/json");
    assert.equal((await narrow.fetch("/", { method: "POST" })).status, 415);
  });

  it("tells 100 faults of a body at most", async () => {
    await using http = await startHttp({
      routes: (app) => void app.post("/", { schema: { body: z.array(z.string()) } }, async () => ""),
    });
    const body = JSON.stringify(Array.from({ length: 50_000 }, () => 1));
    const response = await http.fetch("/", { method: "POST", headers: { "content-type": "application/json" }, body });
    const { errors } = JSON.parse(await response.text());
    assert.deepEqual([response.status, errors.length, errors[99].pointer], [400, 100, "/99"]);
  });
});

describe("the query of a typed route", () => {
  const querystring = z.object({
    tag: z.array(z.string()).default([]),
    n: z.array(z.coerce.number()).nullish(),
    limit: z.coerce.number().default(10),
    open: z.stringbool().optional(),
    name: z.string().optional(),
  });
  const routes = (app: HttpApp): void => {
    app.get("/", { schema: { querystring } }, async ({ query }) => query);
    const refined = querystring.and(z.object({ more: z.array(z.string()).optional() }));
    app.get("/refined", { schema: { querystring: refined } }, async ({ query }) => query);
    app.get("/own", { schema: { querystring: celsius } }, async ({ query }) => ({ query }));
  };
  const fitting: readonly (readonly [string, object])[] = [
    ["", { tag: [], limit: 10 }],
    ["?tag=a", { tag: ["a"], limit: 10 }],
    ["?tag=a&tag=b&n=1", { tag: ["a", "b"], n: [1], limit: 10 }],
    ["?tag=", { tag: [""], limit: 10 }],
    ["?limit=5&open=false", { tag: [], limit: 5, open: false }],
    ["?__proto__=x&toString=y&unknown=1", { tag: [], limit: 10 }],
  ];
  for (const [query, expected] of fitting) {
    it(`is read: ${query || "none"}`, async () => {
      await using http = await startHttp({ routes });
      assert.deepEqual(await (await http.fetch(`/${query}`)).json(), expected);
    });
  }

  it("takes a field that came once for a list wherever the schema has one", async () => {
    await using http = await startHttp({ routes });
    assert.deepEqual(await (await http.fetch("/refined?more=a&tag=b")).json(), { tag: ["b"], more: ["a"], limit: 10 });
    assert.equal((await http.fetch("/own?a=1")).status, 200);
  });

  const refused: readonly (readonly [string, string])[] = [
    ["?name=a&name=b", "/query/name"],
    ["?limit=1&limit=2", "/query/limit"],
    ["?limit=abc", "/query/limit"],
    ["?open=maybe", "/query/open"],
    ["?n=1&n=x", "/query/n/1"],
  ];
  for (const [query, pointer] of refused) {
    it(`is refused: ${query}`, async () => {
      await using http = await startHttp({ routes });
      const response = await http.fetch(`/${query}`);
      const { errors } = JSON.parse(await response.text());
      assert.equal(response.status, 400);
      assert.deepEqual(
        errors.map((fault: { pointer: string }) => fault.pointer),
        [pointer],
      );
    });
  }
});
