import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { z } from "zod";
import { startHttp, type TestHttp } from "../testing/http.ts";
import type { HttpApp } from "./server.ts";

const note = z.strictObject({
  text: z.string().min(1),
  tags: z.array(z.strictObject({ name: z.string() })).default([]),
  "a/b~c": z.number().optional(),
});

describe("a route with Standard Schemas", () => {
  it("gets params, query, headers and body as the schemas made them, with their types", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.post(
          "/notes/:id",
          {
            schema: {
              params: z.object({ id: z.coerce.number() }),
              querystring: z.object({ limit: z.coerce.number().default(10) }),
              headers: z.object({ "x-kind": z.string().toUpperCase() }),
              body: note,
            },
          },
          async ({ params, query, headers, body }) => {
            const id: number = params.id;
            const limit: number = query.limit;
            const kind: string = headers["x-kind"];
            const tags: readonly { name: string }[] = body.tags;
            return { id, limit, kind, tags };
          },
        ),
    });
    const response = await post(http, "/notes/7", { text: "x" }, { "x-kind": "short" });
    assert.deepEqual(await response.json(), { id: 7, limit: 10, kind: "SHORT", tags: [] });
  });

  it("refuses a request with every fault of every part, by JSON pointer, and does not run the handler", async () => {
    let ran = false;
    await using http = await startHttp({
      routes: (app) =>
        void app.post(
          "/notes/:id",
          {
            schema: {
              params: z.object({ id: z.coerce.number() }),
              querystring: z.strictObject({ limit: z.coerce.number().max(50) }),
              headers: z.object({ "x-kind": z.enum(["a", "b"]) }),
              body: note,
            },
          },
          async () => void (ran = true),
        ),
    });
    const body = { text: 1, tags: [{ name: "x" }, { name: 2, "x/y~z": 1 }], "a/b~c": "x", "un/known": 1, more: 2 };
    const response = await post(http, "/notes/abc?limit=51&page=2", body);
    const problem = await problemOf(response);
    assert.deepEqual([response.status, problem.code], [400, "ERR_REQUEST_INVALID"]);
    assert.deepEqual(
      problem.errors.map(({ pointer }: { pointer: string }) => pointer),
      [
        "/params/id",
        "/query/limit",
        "/query/page",
        "/headers/x-kind",
        "/text",
        "/tags/1/name",
        "/tags/1/x~1y~0z",
        "/a~1b~0c",
        "/un~1known",
        "/more",
      ],
    );
    assert.deepEqual(problem.errors.at(-1), { pointer: "/more", detail: "is not a known field" });
    assert.match(problem.detail, /^\/params\/id expected number, received NaN; \/query\/limit /);
    assert.equal(ran, false);
    assert.deepEqual(await http.reports(), []);
  });

  it("names the whole body when it is missing or of another kind", async () => {
    await using http = await startHttp({ routes: withNote });
    const bodies: readonly (readonly [RequestInit, string])[] = [
      [{ method: "POST" }, "expected object, received undefined"],
      [jsonOf("null"), "expected object, received null"],
      [jsonOf("[]"), "expected object, received array"],
      [jsonOf('"text"'), "expected object, received string"],
    ];
    for (const [init, detail] of bodies) {
      const { errors } = await problemOf(await http.fetch("/notes", init));
      assert.deepEqual(errors, [{ pointer: "", detail }]);
    }
  });

  it("waits for schemas that validate asynchronously", async () => {
    await using http = await startHttp({
      routes: (app) => {
        const free = z.string().refine(async (name) => name !== "taken", "is taken");
        const schema = { body: z.object({ name: free, other: free }), querystring: z.object({ n: z.coerce.number() }) };
        app.post("/", { schema }, async ({ body, query }) => [body.name, query.n]);
      },
    });
    assert.deepEqual(await (await post(http, "/?n=1", { name: "free", other: "free" })).json(), ["free", 1]);
    const { errors } = await problemOf(await post(http, "/?n=x", { name: "taken", other: "taken" }));
    assert.deepEqual(errors, [
      { pointer: "/query/n", detail: "expected number, received NaN" },
      { pointer: "/name", detail: "is taken" },
      { pointer: "/other", detail: "is taken" },
    ]);
  });

  it("answers 500 and reports once when a schema itself fails, at once or later, with whatever", async () => {
    for (const fail of [
      () => {
        throw new Error("broken schema");
      },
      async () => {
        throw new Error("broken schema");
      },
      async () => raise(undefined),
    ]) {
      const schema: StandardSchemaV1<unknown, string> = { "~standard": { version: 1, vendor: "test", validate: fail } };
      await using http = await startHttp({
        routes: (app) => void app.post("/", { schema: { body: schema } }, async () => "reached"),
      });
      const response = await post(http, "/", {});
      assert.deepEqual([response.status, (await problemOf(response)).code], [500, "ERR_INTERNAL"]);
      assert.equal((await http.reports()).length, 1);
    }
  });

  it("may take the fault itself, when it asks to have it attached", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.post("/", { schema: { body: note }, attachValidation: true }, async ({ validationError }) => ({
          told: validationError?.message,
        })),
    });
    const response = await post(http, "/", { text: "" });
    assert.deepEqual(await response.json(), { told: "/text Too small: expected string to have >=1 characters" });
  });

  it("runs its own preValidation hooks first", async () => {
    await using http = await startHttp({
      routes: (app) => {
        app.post(
          "/",
          {
            schema: { body: note },
            preValidation: (request, _reply, done) => {
              request.body = { text: "from the hook", tags: [] };
              done();
            },
          },
          async ({ body }) => body.text,
        );
      },
    });
    assert.equal(await (await post(http, "/", 1)).text(), "from the hook");
  });

  it("writes its reply by the schema: what is not in it does not leave", async () => {
    await using http = await startHttp({
      routes: (app) =>
        void app.get("/", { schema: { response: { 200: z.object({ id: z.number() }) } } }, async () => {
          const row = { id: 1, secret: "x" };
          return row;
        }),
    });
    assert.equal(await (await http.fetch("/")).text(), '{"id":1}');
    assert.equal((await http.fetch("/", { method: "HEAD" })).headers.get("content-length"), "8");
  });

  it("may share one schema object with other routes", async () => {
    const schema = { response: { 200: z.object({ id: z.number() }) } };
    await using http = await startHttp({
      routes: (app) => {
        app.get("/a", { schema }, async () => ({ id: 1 }));
        app.get("/b", { schema }, async () => ({ id: 2 }));
      },
    });
    assert.deepEqual(await Promise.all(["/a", "/b"].map(async (path) => (await http.fetch(path)).json())), [
      { id: 1 },
      { id: 2 },
    ]);
    assert.ok(schema.response[200] instanceof z.ZodObject);
  });

  it("is refused at the start when it mixes kinds of schemas, and the message names route and parts", async () => {
    const starting = startHttp({
      routes: (app) =>
        void app.post("/notes", { schema: { body: note, querystring: { type: "object" } } }, async () => ""),
    });
    await assert.rejects(starting, {
      name: "TypeError",
      message:
        "route /notes: the schema of query is not a Standard Schema while that of body is; use one kind for a route",
    });
  });
});

describe("a route with JSON Schemas", () => {
  it("refuses what does not fit with the same problem", async () => {
    await using http = await startHttp({
      routes: (app) => {
        const text = {
          type: "object",
          required: ["a/b"],
          properties: { deep: { type: "array", items: { type: "integer" } } },
        };
        app.post("/body/:id", { schema: { body: text } }, async () => "");
        app.get("/query", { schema: { querystring: { type: "object", required: ["limit"] } } }, async () => "");
        app.get(
          "/params/:id",
          { schema: { params: { type: "object", properties: { id: { type: "integer" } } } } },
          async () => "",
        );
        app.get("/headers", { schema: { headers: { type: "object", required: ["x-kind"] } } }, async () => "");
      },
    });
    const pointers = async (response: Response) => {
      const problem = await problemOf(response);
      assert.deepEqual([response.status, problem.code], [400, "ERR_REQUEST_INVALID"]);
      return problem.errors.map(({ pointer }: { pointer: string }) => pointer);
    };
    assert.deepEqual(await pointers(await post(http, "/body/1", {})), ["/a~1b"]);
    assert.deepEqual(await pointers(await post(http, "/body/1", { "a/b": 1, deep: [1, "x"] })), ["/deep/1"]);
    assert.deepEqual(await pointers(await http.fetch("/query")), ["/query/limit"]);
    assert.deepEqual(await pointers(await http.fetch("/params/x")), ["/params/id"]);
    assert.deepEqual(await pointers(await http.fetch("/headers")), ["/headers/x-kind"]);
  });
});

describe("a body that cannot be read", () => {
  const cases: readonly (readonly [name: string, init: RequestInit, status: number, code: string, detail: RegExp])[] = [
    ["broken JSON", jsonOf("{"), 400, "ERR_REQUEST_BODY", /^the body is not valid JSON$/],
    ["JSON with a byte order mark alone", jsonOf("\ufeff"), 400, "ERR_REQUEST_BODY", /not valid JSON/],
    ["an empty body that promises JSON", jsonOf(""), 400, "ERR_REQUEST_BODY", /is empty/],
    ["a prototype", jsonOf('{"text":"x","__proto__":{"admin":true}}'), 400, "ERR_REQUEST_BODY", /not valid JSON/],
    ["a constructor", jsonOf('{"constructor":{"prototype":{"admin":1}}}'), 400, "ERR_REQUEST_BODY", /not valid JSON/],
    ["depth", jsonOf("[".repeat(100_000)), 400, "ERR_REQUEST_BODY", /nested more than 64 deep/],
    ["another media type", typed("text/csv", "a,b"), 415, "ERR_REQUEST_MEDIA_TYPE", /send application\/json/],
    ["no media type", typed("", "a"), 415, "ERR_REQUEST_MEDIA_TYPE", /send application\/json/],
    ["a broken media type", typed("a b;;", "x"), 415, "ERR_REQUEST_MEDIA_TYPE", /send application\/json/],
    ["too many bytes", jsonOf(`"${"x".repeat(2_000)}"`), 413, "ERR_REQUEST_TOO_LARGE", /larger than the limit/],
  ];
  for (const [name, init, status, code, detail] of cases) {
    it(`is refused with ${status} and a fixed text: ${name}`, async () => {
      await using http = await startHttp({ routes: withNote, settings: { maxBodyBytes: 200_000 } });
      await using small = await startHttp({ routes: withNote, settings: { maxBodyBytes: 1_000 } });
      const response = await (status === 413 ? small : http).fetch("/notes", init);
      const problem = await problemOf(response);
      assert.equal(response.headers.get("content-type"), "application/problem+json");
      assert.deepEqual([response.status, problem.status, problem.code], [status, status, code]);
      assert.match(problem.detail, detail);
      assert.match(problem.traceId, /^[0-9a-f]{32}$/);
      assert.match(response.headers.get("x-request-id") ?? "", /^[0-9a-f]{32}$/);
      assert.deepEqual(await http.reports(), []);
      assert.equal(({} as { admin?: unknown }).admin, undefined);
    });
  }

  it("is refused with 413 and a closed connection when chunks pass the limit, long before the end", async () => {
    await using http = await startHttp({ routes: withNote, settings: { maxBodyBytes: 1_000 } });
    const connection = http.connect();
    connection.write("POST /notes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n");
    connection.write(`Transfer-Encoding: chunked\r\n\r\n800\r\n"${"x".repeat(2_046)}`);
    const text = await connection.ended;
    assert.match(text, /^HTTP\/1\.1 413 /);
    assert.match(text, /\r\nconnection: close\r\n/i);
    assert.match(text, /"code":"ERR_REQUEST_TOO_LARGE"/);
  });

  it("is not looked at where no route wants it", async () => {
    await using http = await startHttp({ routes: withNote });
    for (const init of [jsonOf("{"), typed("text/csv", "x"), { method: "QUERY" }])
      assert.equal((await problemOf(await http.fetch("/nowhere", init))).code, "ERR_ROUTE_NOT_FOUND");
  });

  it("is refused with 413 before a byte of it has come when its length is told", async () => {
    await using http = await startHttp({ routes: withNote, settings: { maxBodyBytes: 1_000 } });
    const head = "POST /notes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1001\r\n\r\n";
    assert.match(await http.raw(head), /^HTTP\/1\.1 413 [^]*\r\nconnection: close\r\n/i);
  });
});

describe("a path that cannot be read", () => {
  const cases: readonly (readonly [path: string, status: number, code: string])[] = [
    ["/%zz", 400, "ERR_REQUEST_MALFORMED"],
    ["/notes/%", 400, "ERR_REQUEST_MALFORMED"],
    ["/notes/%ff", 400, "ERR_REQUEST_MALFORMED"],
    ["/notes/%c0%af", 400, "ERR_REQUEST_MALFORMED"],
    [`/notes/${"x".repeat(101)}`, 414, "ERR_REQUEST_MALFORMED"],
    ["/nowhere", 404, "ERR_ROUTE_NOT_FOUND"],
    ["/notes/1/2/3", 404, "ERR_ROUTE_NOT_FOUND"],
  ];
  for (const [path, status, code] of cases) {
    it(`is refused with ${status}, ids and a text without it: ${path.slice(0, 20)}`, async () => {
      await using http = await startHttp({ routes: withNote });
      const response = await http.fetch(path, { headers: { "x-request-id": "request-1" } });
      const problem = await problemOf(response);
      assert.deepEqual([response.status, problem.status, problem.code], [status, status, code]);
      assert.equal(response.headers.get("content-type"), "application/problem+json");
      assert.equal(response.headers.get("x-request-id"), "request-1");
      assert.match(problem.traceId, /^[0-9a-f]{32}$/);
      assert.doesNotMatch(problem.detail, /%|xxx|nowhere/);
      assert.deepEqual(await http.reports(), []);
    });
  }
});

function withNote(app: HttpApp): void {
  app.post("/notes", { schema: { body: note } }, async ({ body }) => body.text);
  app.get("/notes/:id", async () => "");
}

function post(http: TestHttp, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return http.fetch(path, {
    ...jsonOf(JSON.stringify(body)),
    headers: { "content-type": "application/json", ...headers },
  });
}

function jsonOf(body: string): RequestInit {
  return typed("application/json", body);
}

/** Bytes, so that fetch adds no media type of its own. */
function typed(type: string, body: string): RequestInit {
  return { method: "POST", headers: type === "" ? {} : { "content-type": type }, body: new TextEncoder().encode(body) };
}

function raise(thrown: unknown): never {
  throw thrown;
}

async function problemOf(response: Response) {
  return JSON.parse(await response.text());
}
