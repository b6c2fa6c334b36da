import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { leavesOf, variableName } from "./leaves.ts";
import { secretString } from "./secret.ts";

describe("variableName", () => {
  const cases: readonly (readonly [readonly string[], string])[] = [
    [["http", "port"], "PLINTH_HTTP_PORT"],
    [["http", "announceDelayMs"], "PLINTH_HTTP_ANNOUNCE_DELAY_MS"],
    [["db", "pool", "max"], "PLINTH_DB_POOL_MAX"],
    [["http2", "maxStreams"], "PLINTH_HTTP2_MAX_STREAMS"],
    [["my-part", "a.b"], "PLINTH_MY_PART_A_B"],
  ];
  for (const [path, name] of cases) {
    it(`is ${name} for ${path.join(" / ")}`, () => assert.equal(variableName(path), name));
  }
});

/** The leaves of a section as `key`, or `key ***` for a secret. */
function keysOf(schema: z.ZodType): string[] {
  const json = z.toJSONSchema(schema, { io: "input" });
  return leavesOf(json, "s").map(({ key, isSecret }) => (isSecret ? `${key} ***` : key));
}

describe("leavesOf", () => {
  it("gives every value by its path, in the order of the schema; lists, maps and unions are one", () => {
    const schema = z.strictObject({
      b: z.number(),
      a: z.strictObject({ list: z.array(z.strictObject({ x: z.number() })), map: z.record(z.string(), z.number()) }),
      either: z.union([z.strictObject({ x: z.number() }), z.string()]),
    });
    assert.deepEqual(keysOf(schema), ["s.b", "s.a.list", "s.a.map", "s.either"]);
  });

  const secrets: readonly (readonly [string, z.ZodType])[] = [
    ["a secret", secretString("x")],
    ["an optional one", secretString("x").optional()],
    ["a list of them", z.array(secretString("x"))],
    ["a map of them", z.record(z.string(), secretString("x"))],
    ["one of two kinds", z.union([z.number(), z.string().meta({ writeOnly: true })])],
    ["a list of ones by name", z.array(z.string().meta({ id: "LeavesTestListed", writeOnly: true }))],
    ["one that the schema refers to by name", z.string().meta({ id: "LeavesTestSecret", writeOnly: true })],
  ];
  for (const [name, field] of secrets) {
    it(`knows ${name}`, () => assert.deepEqual(keysOf(z.strictObject({ v: field })), ["s.v ***"]));
  }

  it("takes everything in a secret mapping for secret", () => {
    const schema = z.strictObject({ login: z.strictObject({ user: z.string() }).meta({ writeOnly: true }) });
    assert.deepEqual(keysOf(schema), ["s.login.user ***"]);
  });

  it("finds the secrets of a schema that holds itself, and comes to an end", () => {
    const node = z.strictObject({
      key: secretString("x"),
      get left() {
        return node.optional();
      },
    });
    assert.deepEqual(keysOf(z.strictObject({ tree: node })), ["s.tree.key ***", "s.tree.left ***"]);
  });

  it("has none for what is no schema", () => assert.deepEqual(leavesOf(undefined, "s"), []));
});
