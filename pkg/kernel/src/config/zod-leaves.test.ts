import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { errorSettings } from "../errors/module.ts";
import { logSettings } from "../logger/module.ts";
import { type Leaf, leavesOf } from "./leaves.ts";
import { secretString } from "./secret.ts";
import { zodLeavesOf } from "./zod-leaves.ts";

/** All that a leaf tells, without what its JSON Schema says of the place that it stands in. */
function plain(leaves: readonly Leaf[] | undefined): unknown {
  return leaves?.map(({ path, key, variable, schema, kinds, itemKinds, isSecret }) => ({
    path,
    key,
    variable,
    schema,
    kinds,
    itemKinds,
    isSecret,
  }));
}

function byJsonSchema(schema: z.ZodType): Leaf[] {
  return leavesOf(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }), "s");
}

const secret = z.string().meta({ writeOnly: true });

describe("zodLeavesOf", () => {
  const told: Readonly<Record<string, z.ZodType>> = {
    "every kind of value": z.strictObject({
      text: z.string().min(1).default("a").meta({ description: "A text." }),
      count: z.int().min(0).max(9).optional(),
      ratio: z.number().default(1),
      flag: z.stringbool().default(false),
      choice: z.enum(["a", "b"]).nullable().default("a"),
      either: z.union([z.literal(0), z.string()]),
      list: z.array(z.int()).default([]),
      map: z.record(z.string(), z.number()).readonly(),
      any: z.unknown(),
      url: z.url().refine((text) => text !== ""),
    }),
    "mappings in mappings": z
      .strictObject({
        outer: z
          .strictObject({ inner: z.object({ a: z.string() }).optional(), b: z.number().catch(0) })
          .prefault({ b: 1 })
          .meta({ description: "Within." }),
        empty: z.strictObject({}),
        either: z.strictObject({ a: z.string() }).nullable(),
      })
      .refine(() => true),
    "what becomes something else": z.strictObject({
      size: z.string().transform(Number),
      list: z.preprocess((value) => value, z.array(z.string())),
      mapping: z.strictObject({ a: z.string() }).transform(({ a }) => a),
    }),
    secrets: z.strictObject({
      plain: z.string(),
      own: secretString("x"),
      optional: secretString("x").optional(),
      refined: secret.min(1).default("a"),
      list: z.array(secret),
      map: z.record(z.string(), secret),
      either: z.union([z.number(), secret]),
      perhaps: secret.nullable(),
      listed: z.array(z.strictObject({ user: z.string(), password: secretString("x") })),
      mapping: z.strictObject({ user: z.string() }).meta({ writeOnly: true }),
      within: z.strictObject({ user: z.string(), password: secret }),
      shown: secret.optional().meta({ writeOnly: false }),
    }),
  };
  for (const [name, schema] of Object.entries(told)) {
    it(`finds in ${name} what the JSON Schema says`, () => {
      const leaves = zodLeavesOf(schema, "s");
      assert.ok(leaves && leaves.length > 0);
      assert.deepEqual(plain(leaves), plain(byJsonSchema(schema)));
    });
  }

  for (const { section, schema } of [logSettings, errorSettings]) {
    it(`tells the keys of the section ${section}`, () => assert.ok(zodLeavesOf(schema, section)));
  }

  const untold: Readonly<Record<string, unknown>> = {
    "no zod schema": { "~standard": {} },
    "a schema of zod/mini": { _zod: { def: { type: "string" } } },
    "keys that are not known": z.strictObject({ a: z.string() }).catchall(secret),
    "a schema that others refer to": z.strictObject({ a: z.string().meta({ id: "ZodLeavesTest" }) }),
    "one that refines such a one": z.strictObject({ a: z.string().meta({ id: "ZodLeavesTestRefined" }).min(1) }),
    "words of JSON Schema": z.strictObject({ a: z.unknown().meta({ properties: { b: { writeOnly: true } } }) }),
    "a schema that holds itself": z.strictObject({
      get again() {
        return z.array(z.strictObject({ a: z.lazy(() => z.string()) }));
      },
    }),
    "secrets that come later": z.strictObject({ a: z.array(z.lazy(() => secret)) }),
    "both of two": z.strictObject({ a: z.intersection(secret, z.string()) }),
  };
  for (const [name, schema] of Object.entries(untold)) {
    it(`leaves ${name} to the JSON Schema`, () => assert.equal(zodLeavesOf(schema, "s"), undefined));
  }

  it("leaves to the JSON Schema what has no end", () => {
    const node = z.strictObject({
      get left() {
        return node.optional();
      },
    });
    const list = z.strictObject({
      get items() {
        return z.array(list);
      },
    });
    assert.equal(zodLeavesOf(node, "s"), undefined);
    assert.equal(zodLeavesOf(list, "s"), undefined);
  });

  it("takes what zod cannot tell for any text", () => {
    const throwing = z.string().default(() => {
      throw new Error("no default");
    });
    const [leaf] = zodLeavesOf(z.strictObject({ a: throwing }), "s") ?? [];
    assert.deepEqual([leaf?.schema, leaf?.kinds], [{}, ["string"]]);
  });
});
