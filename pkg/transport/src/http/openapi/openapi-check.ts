import assert from "node:assert/strict";
import { createRequire } from "node:module";

/** An object of a document. */
type Part = Readonly<Record<string, unknown>>;

const methods = new Set(["get", "put", "post", "delete", "options", "head", "patch", "trace"]);
const statusPattern = /^(?:[1-5]\d\d|[1-5]XX|default)$/;
const namePattern = /^[A-Za-z0-9._-]+$/;

/**
 * Holds a document to what OpenAPI 3.1 asks of it: the fields that must and may be there, each schema to the JSON Schema
 * draft 2020-12, each reference to something that is there, and each name to be there once.
 * @see https://spec.openapis.org/oas/v3.1.1.html
 */
export function assertValidOpenApi(document: unknown): void {
  new Check(partOf(document, "#")).run();
}

class Check {
  readonly #document: Part;
  readonly #ids = new Set<string>();
  readonly #schema = schemaCheck();

  constructor(document: Part) {
    this.#document = document;
  }

  run(): void {
    fieldsOf(this.#document, "#", ["openapi", "info"], ["paths", "components", "tags", "servers", "security"]);
    assert.match(textAt(this.#document, "openapi", "#"), /^3\.1\.\d+$/);
    const info = partOf(this.#document.info, "#/info");
    fieldsOf(info, "#/info", ["title", "version"], ["description", "summary"]);
    const tags = listOf(this.#document.tags);
    assert.equal(new Set(tags.map(({ name }) => name)).size, tags.length);
    const components = partOf(this.#document.components ?? {}, "#/components");
    fieldsOf(components, "#/components", [], ["schemas", "responses", "securitySchemes"]);
    for (const kind of Object.values(components)) {
      for (const name of Object.keys(partOf(kind, "#/components"))) assert.match(name, namePattern);
    }
    for (const [name, schema] of entriesOf(components.schemas))
      this.#checkSchema(schema, `#/components/schemas/${name}`);
    for (const [name, reply] of entriesOf(components.responses)) this.#reply(reply, `#/components/responses/${name}`);
    const shapes = new Map<string, string>();
    for (const [path, item] of entriesOf(this.#document.paths)) {
      assert.match(path, /^\//);
      const shape = path.replaceAll(/\{[^}]*\}/g, "{}");
      assert.equal(shapes.get(shape), undefined, `${path} is the same as ${shapes.get(shape)}`);
      shapes.set(shape, path);
      for (const [method, operation] of entriesOf(item)) {
        assert.ok(methods.has(method), method);
        this.#operation(partOf(operation, path), path, `${method} ${path}`);
      }
    }
  }

  #operation(operation: Part, path: string, at: string): void {
    const may = [
      "tags",
      "summary",
      "description",
      "operationId",
      "parameters",
      "requestBody",
      "deprecated",
      "security",
    ];
    fieldsOf(operation, at, ["responses"], may);
    if (operation.operationId !== undefined) {
      const id = textAt(operation, "operationId", at);
      assert.ok(!this.#ids.has(id), `${id} is there twice`);
      this.#ids.add(id);
    }
    const known = new Set(listOf(this.#document.tags).map(({ name }) => name));
    for (const tag of Array.isArray(operation.tags) ? operation.tags : [])
      assert.ok(known.has(tag), `${at}: ${String(tag)}`);
    const seen = new Set<string>();
    const inPath = new Set<string>();
    for (const parameter of listOf(operation.parameters)) {
      fieldsOf(parameter, at, ["name", "in", "schema"], ["description", "required", "deprecated"]);
      const [name, place] = [textAt(parameter, "name", at), textAt(parameter, "in", at)];
      assert.ok(["path", "query", "header", "cookie"].includes(place), at);
      assert.ok(!seen.has(`${place} ${name}`), `${at}: ${name} is there twice`);
      seen.add(`${place} ${name}`);
      if (place === "path") assert.equal(parameter.required, true, `${at}: ${name}`);
      if (place === "path") inPath.add(name);
      this.#checkSchema(parameter.schema, `${at} ${name}`);
    }
    const inTemplate = new Set([...path.matchAll(/\{([^}]*)\}/g)].map(([, name]) => name));
    assert.deepEqual(inPath, inTemplate, at);
    if (operation.requestBody !== undefined) {
      const body = partOf(operation.requestBody, at);
      fieldsOf(body, at, ["content"], ["required", "description"]);
      this.#content(body.content, at);
    }
    const replies = entriesOf(operation.responses);
    assert.notEqual(replies.length, 0, at);
    for (const [status, reply] of replies) {
      assert.match(status, statusPattern, at);
      this.#reply(reply, `${at} ${status}`);
    }
    const schemes = partOf(partOf(this.#document.components, at).securitySchemes ?? {}, at);
    for (const needed of listOf(operation.security)) {
      for (const [name, scopes] of Object.entries(needed)) {
        assert.ok(name in schemes, `${at}: ${name}`);
        assert.ok(Array.isArray(scopes) && scopes.every((scope) => typeof scope === "string"), at);
      }
    }
  }

  #reply(value: unknown, at: string): void {
    const reply = partOf(value, at);
    if ("$ref" in reply) {
      this.#ref(textAt(reply, "$ref", at), at);
      return;
    }
    fieldsOf(reply, at, ["description"], ["content", "headers"]);
    textAt(reply, "description", at);
    if (reply.content !== undefined) this.#content(reply.content, at);
  }

  #content(content: unknown, at: string): void {
    const types = entriesOf(content);
    assert.notEqual(types.length, 0, at);
    for (const [type, media] of types) {
      assert.match(type, /^[\w*.+-]+\/[\w*.+-]+$/, at);
      const part = partOf(media, at);
      fieldsOf(part, at, [], ["schema"]);
      this.#checkSchema(part.schema ?? {}, at);
    }
  }

  #checkSchema(schema: unknown, at: string): void {
    const fault = this.#schema(schema);
    assert.equal(fault, undefined, `${at}: ${fault}`);
    for (const ref of refsIn(schema)) this.#ref(ref, at);
  }

  /** Whatever is referred to must be there. */
  #ref(ref: string, at: string): void {
    assert.match(ref, /^#\//, at);
    let found: unknown = this.#document;
    for (const key of ref.slice(2).split("/")) {
      const name = decodeURIComponent(key).replaceAll("~1", "/").replaceAll("~0", "~");
      found =
        typeof found === "object" && found !== null && Object.hasOwn(found, name)
          ? Reflect.get(found, name)
          : undefined;
    }
    assert.notEqual(found, undefined, `${at}: nothing is at ${ref}`);
  }
}

function schemaCheck(): (schema: unknown) => string | undefined {
  const fromFastify = createRequire(createRequire(import.meta.url).resolve("fastify"));
  const loaded: unknown = fromFastify("ajv/dist/2020.js");
  const Ajv: unknown = Reflect.get(Object(loaded), "default");
  assert.ok(typeof Ajv === "function");
  const ajv: unknown = Reflect.construct(Ajv, [{ strict: false, validateFormats: false }]);
  assert.ok(typeof ajv === "object" && ajv !== null);
  return (schema) => (call(ajv, "validateSchema", schema) === true ? undefined : String(call(ajv, "errorsText")));
}

function call(object: object, method: string, ...args: readonly unknown[]): unknown {
  const found: unknown = Reflect.get(object, method);
  assert.ok(typeof found === "function", method);
  return Reflect.apply(found, object, args);
}

function listOf(value: unknown): readonly Part[] {
  return Array.isArray(value) ? value.map((each: unknown) => partOf(each, "")) : [];
}

function partOf(value: unknown, at: string): Part {
  assert.ok(typeof value === "object" && value !== null && !Array.isArray(value), at);
  return Object.fromEntries(Object.entries(value));
}

function entriesOf(value: unknown): [string, unknown][] {
  return Object.entries(partOf(value ?? {}, ""));
}

function textAt(part: Part, key: string, at: string): string {
  const value = part[key];
  assert.ok(typeof value === "string" && value !== "", `${at}: ${key}`);
  return value;
}

function fieldsOf(part: Part, at: string, must: readonly string[], may: readonly string[]): void {
  for (const key of must) assert.ok(key in part, `${at} has no ${key}`);
  for (const key of Object.keys(part)) assert.ok(must.includes(key) || may.includes(key), `${at} has ${key}`);
}

function refsIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(refsIn);
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, child]: [string, unknown]) =>
    key === "const" || key === "enum" || key === "default"
      ? []
      : key === "$ref" && typeof child === "string"
        ? [child]
        : refsIn(child),
  );
}
