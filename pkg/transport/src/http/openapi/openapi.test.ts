import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { StandardSchemaV1 } from "@plinth/kernel";
import { z } from "zod";
import { assertValidOpenApi } from "./openapi-check.ts";
import type { HttpRoutes } from "../server.ts";
import type { DocumentInfo } from "./operation.ts";
import { writeDocumentOf } from "./write.ts";

const info: DocumentInfo = { title: "notes", version: "1.2.3" };

/** The document of these routes, valid. */
async function documentOf(routes: HttpRoutes, given = info) {
  const { text, faults, warnings } = await writeDocumentOf([routes], given);
  const document = JSON.parse(text);
  assertValidOpenApi(document);
  return { document, text, faults, warnings, schemas: document.components.schemas };
}

/** The same where nothing is wrong with it. */
async function cleanDocumentOf(routes: HttpRoutes, given = info) {
  const { faults, warnings, ...rest } = await documentOf(routes, given);
  assert.deepEqual([faults, warnings], [[], []]);
  return rest;
}

const note = z
  .object({ id: z.uuid(), text: z.string().min(1), tags: z.array(z.string()).default([]) })
  .meta({ id: "Note", description: "A note." });

const richRoutes: HttpRoutes = (app) => {
  app.get(
    "/notes",
    {
      schema: {
        querystring: z.object({
          limit: z.coerce.number().max(50).default(10).describe("At most."),
          tag: z.array(z.string()),
        }),
        headers: z.object({
          "x-tenant": z.string(),
          authorization: z.string(),
          "x-old": z.string().optional().meta({ deprecated: true }),
        }),
        response: { 200: z.object({ notes: z.array(note) }), "4xx": z.object({ why: z.string() }) },
      },
      config: { openapi: { operationId: "listNotes", summary: "Lists", description: "All.", tags: ["notes", "all"] } },
    },
    async () => ({ notes: [] }),
  );
  app.post("/notes", { schema: { body: note, response: { 201: note } } }, async ({ body }, reply) =>
    reply.code(201).send(body),
  );
  app.delete(
    "/notes/:id",
    {
      schema: { params: z.object({ id: z.uuid() }), response: { 204: z.undefined() } },
      config: { openapi: { deprecated: true } },
    },
    async (_, reply) => reply.code(204).send(),
  );
};

describe("the OpenAPI document", () => {
  it("tells parameters, headers, bodies, replies and what else is said of a route", async () => {
    const { document } = await cleanDocumentOf(richRoutes);
    assert.deepEqual([document.openapi, document.info], ["3.1.1", info]);
    assert.deepEqual(document.tags, [{ name: "all" }, { name: "notes" }]);
    const { get: list, post: add } = document.paths["/notes"];
    assert.deepEqual([list.operationId, list.summary, list.description], ["listNotes", "Lists", "All."]);
    assert.deepEqual(list.parameters, [
      { name: "limit", in: "query", description: "At most.", schema: { default: 10, type: "number", maximum: 50 } },
      { name: "tag", in: "query", required: true, schema: { type: "array", items: { type: "string" } } },
      { name: "x-old", in: "header", deprecated: true, schema: { type: "string" } },
      { name: "x-tenant", in: "header", required: true, schema: { type: "string" } },
    ]);
    assert.deepEqual(Object.keys(list.responses), ["200", "400", "4XX", "default"]);
    assert.deepEqual(list.responses.default, { $ref: "#/components/responses/Problem" });
    assert.deepEqual(add.requestBody, {
      required: true,
      content: { "application/json": { schema: { $ref: "#/components/schemas/NoteInput" } } },
    });
    assert.equal(add.responses["201"].description, "A note.");
    const { delete: remove } = document.paths["/notes/{id}"];
    assert.deepEqual([remove.operationId, remove.deprecated], ["deleteNotesId", true]);
    assert.deepEqual(remove.responses["204"], { description: "No Content" });
  });

  it("has errors as problems", async () => {
    const { document, schemas } = await cleanDocumentOf((app) => void app.get("/", async () => ""));
    const { content } = document.components.responses.Problem;
    assert.deepEqual(content, { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } });
    assert.deepEqual(schemas.Problem.required, ["type", "title", "status", "code"]);
    assert.deepEqual(Object.keys(document.paths["/"].get.responses), ["2XX", "default"]);
  });

  it("is the same whatever the order of the routes", async () => {
    const parts = [
      (app) => void app.get("/b", { schema: { response: { 200: note } } }, async () => ({ id: "", text: "" })),
      (app) => void app.post("/a/:id", { schema: { body: note } }, async () => ""),
      (app) => void app.get("/a/:name", async () => ""),
      richRoutes,
    ] satisfies HttpRoutes[];
    const [one, other] = await Promise.all([writeDocumentOf(parts, info), writeDocumentOf(parts.toReversed(), info)]);
    assert.equal(one.text, other.text);
    assertValidOpenApi(JSON.parse(one.text));
    assert.deepEqual(Object.keys(JSON.parse(one.text).paths), ["/a/{id}", "/b", "/notes", "/notes/{id}"]);
  });

  it("says which routes ask who calls, by what they and the server say", async () => {
    const routes: HttpRoutes = (app) => {
      app.get("/usual", async () => "");
      app.get("/open", { config: { auth: "none" } }, async () => "");
      app.get("/maybe", { config: { auth: "optional" } }, async () => "");
      app.get("/scoped", { config: { scopes: ["notes:read"] } }, async () => "");
    };
    const securityOf = async (auth: DocumentInfo["auth"]): Promise<unknown> => {
      const { document } = await cleanDocumentOf(routes, { ...info, auth });
      return Object.fromEntries(
        Object.entries<{ get: { security: unknown } }>(document.paths).map(([path, { get }]) => [
          path.slice(1),
          get.security,
        ]),
      );
    };
    const maybe = [{ bearer: [] }, {}];
    const scoped = [{ bearer: ["notes:read"] }];
    assert.deepEqual(await securityOf("required"), { usual: [{ bearer: [] }], open: undefined, maybe, scoped });
    assert.deepEqual(await securityOf("none"), { usual: undefined, open: undefined, maybe, scoped });
    assert.deepEqual(await securityOf("off"), {
      usual: undefined,
      open: undefined,
      maybe: undefined,
      scoped: undefined,
    });
    const { document } = await cleanDocumentOf(routes, { ...info, auth: "required" });
    assert.deepEqual(Object.keys(document.paths["/scoped"].get.responses), ["401", "403", "2XX", "default"]);
    assert.equal(document.components.securitySchemes.bearer.scheme, "bearer");
  });

  it("leaves out what is hidden, the methods of RPC services, and the HEAD of a GET", async () => {
    const { document } = await cleanDocumentOf((app) => {
      app.get("/hidden", { config: { openapi: false } }, async () => "");
      app.post("/a.B/C", { config: { origin: "rpc" } }, async () => "");
      app.get("/a", async () => "");
      app.head("/alone", async () => "");
    });
    assert.deepEqual(Object.keys(document.paths), ["/a", "/alone"]);
    assert.deepEqual(Object.keys(document.paths["/a"]), ["get"]);
    assert.deepEqual(Object.keys(document.paths["/alone"]), ["head"]);
  });

  it("has bodies and replies in several media types", async () => {
    const text = z.string();
    const { document } = await cleanDocumentOf((app) => {
      const content = { "text/csv": { schema: text }, "application/json": { schema: note } };
      app.post(
        "/",
        { schema: { body: { content }, response: { 200: { description: "As asked.", content } } } },
        async () => "",
      );
    });
    const { requestBody, responses } = document.paths["/"].post;
    assert.deepEqual(Object.keys(requestBody.content), ["application/json", "text/csv"]);
    assert.equal(responses["200"].description, "As asked.");
    assert.deepEqual(responses["200"].content["text/csv"], { schema: { type: "string" } });
  });
});

describe("paths of the OpenAPI document", () => {
  const cases: readonly (readonly [url: string, ...templates: string[]])[] = [
    ["/a/:id", "/a/{id}"],
    ["/a/:id?", "/a", "/a/{id}"],
    ["/:id?", "/", "/{id}"],
    ["/a/:hour(^\\d{2})h:minute(^\\d{2})m", "/a/{hour}h{minute}m"],
    ["/a/:name.:ext", "/a/{name}.{ext}"],
    ["/a/:from-:to", "/a/{from}-{to}"],
    ["/files/*", "/files/{rest}"],
    ["*", "/{rest}"],
    ["/a/::verb", "/a/:verb"],
    ["/a/:id(^(?:x|\\))+$)", "/a/{id}"],
    ["/a{b}", "/a%7Bb%7D"],
    ["/a/", "/a/"],
  ];
  for (const [url, ...templates] of cases) {
    it(`tell ${url}`, async () => {
      const { document } = await cleanDocumentOf((app) => void app.get(url, async () => ""));
      assert.deepEqual(Object.keys(document.paths), templates);
    });
  }

  it("tell what a parameter is matched against, and what the rest of a path is", async () => {
    const { document } = await cleanDocumentOf((app) => {
      app.get("/a/:id(^\\d+$)/*", { schema: { params: z.object({ "*": z.string().max(9) }) } }, async () => "");
    });
    assert.deepEqual(document.paths["/a/{id}/{rest}"].get.parameters, [
      { name: "id", in: "path", required: true, schema: { type: "string", pattern: "^\\d+$" } },
      {
        name: "rest",
        in: "path",
        description: "The rest of the path, slashes included.",
        required: true,
        schema: { type: "string", maxLength: 9 },
      },
    ]);
  });

  it("have one name for a parameter that routes call differently", async () => {
    const { document } = await cleanDocumentOf((app) => {
      app.get("/a/:id/b/:x", { schema: { params: z.object({ id: z.uuid(), x: z.string() }) } }, async () => "");
      app.put("/a/:name/b/:y", { schema: { params: z.object({ name: z.email(), y: z.string() }) } }, async () => "");
    });
    assert.deepEqual(Object.keys(document.paths), ["/a/{id}/b/{x}"]);
    const [first] = document.paths["/a/{id}/b/{x}"].put.parameters;
    assert.deepEqual([first.name, first.schema.format], ["id", "email"]);
  });

  it("have one operation for what OpenAPI takes for the same: the plainest, and a warning for each other", async () => {
    const { document, warnings } = await documentOf((app) => {
      app.get("/a", { constraints: { version: "2.0.0" }, config: { openapi: { summary: "second" } } }, async () => "");
      app.get("/a", { config: { openapi: { summary: "first" } } }, async () => "");
      app.get("/a", { constraints: { host: "b.example" } }, async () => "");
      app.get("/b/:id(^\\d+$)", async () => "");
      app.get("/b/:name", async () => "");
    });
    assert.deepEqual(Object.keys(document.paths), ["/a", "/b/{name}"]);
    assert.equal(document.paths["/a"].get.summary, "first");
    assert.deepEqual(warnings, [
      "GET /a: OpenAPI takes it for the same as GET /a; it is left out",
      "GET /b/:id(^\\d+$): OpenAPI takes it for the same as GET /b/:name; it is left out",
    ]);
  });

  it("have no methods that OpenAPI has not", async () => {
    const { document, warnings } = await documentOf((app) => {
      app.addHttpMethod("PURGE");
      app.route({ method: ["GET", "PURGE"], url: "/a", handler: async () => "" });
    });
    assert.deepEqual(Object.keys(document.paths["/a"]), ["get"]);
    assert.deepEqual(warnings, ["PURGE /a: OpenAPI has no such method; it is left out"]);
  });

  it("warn of parameters in a schema that are not in the path", async () => {
    const { warnings } = await documentOf((app) => {
      app.get("/a/:id", { schema: { params: z.object({ id: z.string(), nr: z.string() }) } }, async () => "");
    });
    assert.deepEqual(warnings, ["GET /a/:id, params: nr is not in its path"]);
  });
});

describe("schemas of the OpenAPI document", () => {
  it("stand once under their id, and twice where requests and replies differ", async () => {
    const same = z.strictObject({ a: z.string() }).meta({ id: "Same" });
    const { schemas } = await cleanDocumentOf((app) => {
      app.post("/a", { schema: { body: same, response: { 200: same } } }, async () => ({ a: "" }));
      app.post("/b", { schema: { body: note, response: { 200: z.array(note) } } }, async () => []);
    });
    assert.deepEqual(Object.keys(schemas), ["Note", "NoteInput", "Problem", "Same"]);
    assert.deepEqual(schemas.Note.required, ["id", "text", "tags"]);
    assert.deepEqual(schemas.NoteInput.required, ["id", "text"]);
    assert.equal(schemas.Same.additionalProperties, false);
    const plain = z.object({ a: z.string() }).meta({ id: "Plain" });
    const { schemas: others } = await cleanDocumentOf((app) => {
      app.post("/a", { schema: { body: plain, response: { 200: plain } } }, async () => ({ a: "" }));
    });
    assert.deepEqual(Object.keys(others), ["Plain", "Problem"]);
    assert.equal("additionalProperties" in others.Plain, false);
  });

  it("may refer to themselves, with an id or without one", async () => {
    const Tree = z
      .object({
        name: z.string(),
        get kids() {
          return z.array(Tree);
        },
      })
      .meta({ id: "Tree" });
    const List = z.object({
      get next() {
        return List.optional();
      },
    });
    const Even = z
      .object({
        get odd() {
          return Odd.optional();
        },
      })
      .meta({ id: "Even" });
    const Odd = z
      .object({
        get even() {
          return Even.optional();
        },
      })
      .meta({ id: "Odd" });
    const { document, schemas } = await cleanDocumentOf((app) => {
      app.post("/a", { schema: { body: Tree, response: { 200: Tree } } }, async () => ({ name: "", kids: [] }));
      app.post("/b", { schema: { body: List, response: { 200: z.object({ a: List, b: List }) } } }, async () => ({
        a: {},
        b: {},
      }));
      app.post("/c", { schema: { body: Even, response: { 200: Odd } } }, async () => ({}));
    });
    assert.deepEqual(schemas.Tree.properties.kids.items, { $ref: "#/components/schemas/Tree" });
    const { schema } = document.paths["/b"].post.requestBody.content["application/json"];
    assert.match(schema.$ref, /^#\/components\/schemas\/Schema_[0-9a-f]{8}$/);
    assert.deepEqual(schemas.Even.properties.odd, { $ref: "#/components/schemas/Odd" });
  });

  it("are told apart where two have one id, which is a fault", async () => {
    const routes: HttpRoutes = (app) => {
      app.post("/a", { schema: { body: z.object({ a: z.string() }).meta({ id: "Twice" }) } }, async () => "");
      app.post("/b", { schema: { body: z.object({ b: z.string() }).meta({ id: "Twice" }) } }, async () => "");
    };
    const { schemas, faults } = await documentOf(routes);
    assert.deepEqual(Object.keys(schemas), ["Problem", "Twice", "Twice2"]);
    assert.deepEqual(faults, [
      "2 unlike schemas have the id Twice: POST /a, body, POST /b, body; give each an id of its own",
    ]);
  });

  it("are told apart, and are no fault, where a user's schema is called Problem", async () => {
    const own = z.object({ a: z.string() }).meta({ id: "Problem" });
    const { document } = await documentOf((app) => void app.post("/a", { schema: { body: own } }, async () => ""));
    const { schema } = document.components.responses.Problem.content["application/problem+json"];
    assert.deepEqual(schema, { $ref: "#/components/schemas/Problem" });
    assert.equal(document.components.schemas.Problem.required.includes("code"), true);
  });

  it("say of what JSON Schema has nothing for that it may be anything, with a warning; a date is a text", async () => {
    const { document, warnings } = await documentOf((app) => {
      const reply = z.object({ at: z.date(), size: z.bigint(), deep: z.array(z.object({ f: z.custom<string>() })) });
      app.get("/a", { schema: { response: { 200: reply } } }, async () => ({ at: new Date(), size: 1n, deep: [] }));
      app.post(
        "/a",
        { schema: { body: z.object({ n: z.string().transform(Number), s: z.stringbool() }) } },
        async () => "",
      );
    });
    const { properties } = document.paths["/a"].get.responses["200"].content["application/json"].schema;
    assert.deepEqual(properties.at, { type: "string", format: "date-time" });
    assert.deepEqual(properties.size, {});
    const body = document.paths["/a"].post.requestBody.content["application/json"].schema;
    assert.deepEqual(body.properties, { n: { type: "string" }, s: { type: "string" } });
    assert.deepEqual(warnings, [
      "GET /a, reply 200: at deep.items.f: JSON Schema has nothing for custom; the document allows anything there",
      "GET /a, reply 200: at size: JSON Schema has nothing for bigint; the document allows anything there",
    ]);
  });

  it("of libraries that cannot tell their JSON Schema, or fail at it, may be anything", async () => {
    const validate = (value: unknown) => ({ value });
    const mute: StandardSchemaV1 = { "~standard": { version: 1, vendor: "mute", validate } };
    const failing = {
      "~standard": {
        ...mute["~standard"],
        jsonSchema: {
          input: () => {
            throw new Error("not today");
          },
        },
      },
    };
    const { document, warnings } = await documentOf((app) => {
      app.post("/a", { schema: { body: mute, querystring: failing } }, async () => "");
    });
    assert.deepEqual(document.paths["/a"].post.requestBody.content["application/json"], { schema: {} });
    assert.deepEqual(warnings, [
      "POST /a, body: a schema of mute cannot tell its JSON Schema; the document allows anything there",
      "POST /a, query: its fields cannot be told; the document has no parameters of it",
      "POST /a, query: its schema has no JSON Schema: not today; the document allows anything there",
    ]);
  });

  it("may be JSON Schemas, with references into themselves and to shared ones, however they are written", async () => {
    const { document, schemas } = await cleanDocumentOf((app) => {
      app.addSchema({
        $id: "shared",
        type: "object",
        properties: { a: { type: "string" } },
        definitions: { "x/y": { type: "integer" } },
      });
      const body = {
        type: "object",
        required: ["$ref"],
        properties: {
          $ref: { const: { $ref: "nowhere" } },
          one: { $ref: "#/definitions/a~1b%20c" },
          self: { $ref: "#" },
          part: { $ref: "#/properties/one" },
          shared: { $ref: "shared#" },
          deep: { $ref: "shared#/definitions/x~1y" },
        },
        definitions: { "a/b c": { type: "string" } },
      };
      app.post("/a", { schema: { body: { ...body, $id: "body" } } }, async () => "");
    });
    assert.deepEqual(document.paths["/a"].post.requestBody.content["application/json"].schema, {
      $ref: "#/components/schemas/body",
    });
    const { properties } = schemas.body;
    assert.deepEqual(properties.$ref, { const: { $ref: "nowhere" } });
    assert.deepEqual(properties.one, { $ref: "#/components/schemas/a_b_c" });
    assert.deepEqual(properties.self, { $ref: "#/components/schemas/body" });
    assert.deepEqual(properties.part, { $ref: "#/components/schemas/body/properties/one" });
    assert.deepEqual(properties.shared, { $ref: "#/components/schemas/shared" });
  });

  it("may have fields by any name, and parameters from several parts", async () => {
    const { document } = await cleanDocumentOf((app) => {
      const names = z.object({ "a/b~c": z.string(), "ü {x}": z.string(), __proto__x: z.string() });
      const query = z.intersection(
        z.object({ a: z.string() }),
        z.union([z.object({ b: z.string() }), z.object({ b: z.string(), c: z.string() })]),
      );
      app.post("/a", { schema: { body: names.meta({ id: "Odd name/ü" }), querystring: query } }, async () => "");
    });
    assert.deepEqual(
      document.paths["/a"].post.parameters.map(({ name, required }: Record<string, unknown>) => [name, required]),
      [
        ["a", true],
        ["b", true],
        ["c", undefined],
      ],
    );
    assert.ok("Odd_name__" in document.components.schemas);
  });

  it("that hold themselves are no end of the document", async () => {
    const { openApiDocument } = await import("./document.ts");
    const round: Record<string, unknown> = { type: "object" };
    round.properties = { round };
    const record = {
      methods: ["POST"],
      url: "/a",
      schema: { body: round },
      config: {},
      constraints: {},
      shared: () => ({}),
    };
    const { document, warnings } = openApiDocument([{ ...record, bodyLimit: undefined }], info);
    assertValidOpenApi(document);
    assert.match(warnings.join(), /^POST \/a, body: its JSON Schema cannot be written: Converting circular structure/);
  });
});

describe("operations of the OpenAPI document", () => {
  it("have each an id of its own: one that two routes have is a fault, and stays with the first", async () => {
    const { document, faults } = await documentOf((app) => {
      app.get("/a", { config: { openapi: { operationId: "twice" } } }, async () => "");
      app.get("/b", { config: { openapi: { operationId: "twice" } } }, async () => "");
      app.get("/c/d", async () => "");
      app.get("/c-d", async () => "");
    });
    assert.deepEqual(faults, ["GET /a and GET /b have the operationId twice; give each one of its own"]);
    const ids = Object.values<{ get: { operationId?: string } }>(document.paths).map(({ get }) => get.operationId);
    assert.deepEqual(ids, ["twice", "getB", "getCD", undefined]);
  });

  it("may be 10 000", async () => {
    const { document } = await cleanDocumentOf((app) => {
      for (let index = 0; index < 10_000; index++) {
        app.get(`/r${index}/:id`, { schema: { response: { 200: note } }, exposeHeadRoute: false }, async () => ({
          id: "",
          text: "",
        }));
      }
    });
    assert.equal(Object.keys(document.paths).length, 10_000);
  });
});
