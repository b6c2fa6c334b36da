import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { z } from "zod";
import { configSchema } from "./json-schema.ts";
import { secretString } from "./secret.ts";
import { defineSettings } from "./settings.ts";

const tree = z.strictObject({
  name: z.string(),
  get left() {
    return tree.optional();
  },
});
const sections = [
  defineSettings(
    "http",
    z.strictObject({
      port: z.int().max(9).default(3),
      host: z.string(),
      tls: z.strictObject({ key: z.string() }).optional(),
    }),
  ),
  defineSettings(
    "keys",
    z.strictObject({
      url: z
        .url()
        .regex(/^https:/)
        .meta({ writeOnly: true })
        .optional(),
      main: secretString("m").optional(),
    }),
  ),
  defineSettings("tree", tree.partial()),
  defineSettings("named", z.strictObject({ level: z.enum(["a", "b"]).meta({ id: "JsonSchemaTestLevel" }).optional() })),
  defineSettings("own", { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } }),
];

describe("configSchema", () => {
  const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(configSchema(sections));

  const cases: readonly (readonly [boolean, string, unknown])[] = [
    [true, "an empty file", {}],
    [true, "a file that says but a part", { http: { port: 5 } }],
    [true, "a part of what is below", { http: { tls: {} } }],
    [true, "the name of the schema", { $schema: "./config.schema.json" }],
    [true, "a reference to itself", { tree: { name: "a", left: { name: "b", left: {} } } }],
    [true, "a named schema", { named: { level: "a" } }],
    [true, "a section that tells nothing of itself", { own: { a: 1 } }],
    [true, "a secret in a file", { keys: { url: "file:/run/secrets/url", main: "file:/run/x" } }],
    [false, "an unknown section", { htpp: {} }],
    [false, "an unknown key", { http: { prot: 1 } }],
    [false, "a value out of range", { http: { port: 10 } }],
    [false, "a wrong value in what refers to itself", { tree: { left: { left: { name: 1 } } } }],
    [false, "a wrong value of a named schema", { named: { level: "c" } }],
  ];
  for (const [isTaken, name, document] of cases) {
    it(`${isTaken ? "takes" : "refuses"} ${name}`, () => {
      assert.equal(validate(document), isTaken, JSON.stringify(validate.errors));
    });
  }

  it("keeps the defaults and descriptions that an editor shows", () => {
    const { properties } = configSchema(sections) as {
      properties: Record<string, { properties: Record<string, unknown> }>;
    };
    assert.deepEqual(properties.http?.properties.port, {
      type: "integer",
      minimum: -9007199254740991,
      maximum: 9,
      default: 3,
    });
    assert.deepEqual(properties.keys?.properties.main, {
      description: "m",
      writeOnly: true,
      type: "string",
      minLength: 1,
    });
    assert.deepEqual(properties.keys?.properties.url, {
      writeOnly: true,
      anyOf: [{ pattern: "^file:" }, { type: "string", pattern: "^https:" }],
    });
  });

  it("keeps a key that is named as a word of JSON Schema", () => {
    const odd = defineSettings(
      "odd",
      z.strictObject({ required: z.array(z.string()), default: z.int(), $ref: z.string() }),
    );
    const { properties } = configSchema([odd]) as { properties: Record<string, { properties: object }> };
    assert.deepEqual(Object.keys(properties.odd?.properties ?? {}), ["required", "default", "$ref"]);
  });
});
