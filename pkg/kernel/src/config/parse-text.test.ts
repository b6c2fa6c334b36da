import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { type Leaf, leavesOf } from "./leaves.ts";
import { parseText } from "./parse-text.ts";
import { secretString } from "./secret.ts";

/** The leaf of a section with one field `value`. */
function leafOf(field: z.ZodType): Leaf {
  const [leaf] = leavesOf(z.toJSONSchema(z.strictObject({ value: field }), { io: "input" }), "s");
  assert.ok(leaf);
  return leaf;
}

describe("parseText", () => {
  const good: readonly (readonly [string, z.ZodType, string, unknown])[] = [
    ["text", z.string(), " as it is ", " as it is "],
    ["text that looks like a number", z.string(), "007", "007"],
    ["a number", z.number(), " 8_080 ", 8080],
    ["a negative number", z.number(), "-1.5e3", -1500],
    ["a whole number", z.int(), "5", 5],
    ["true", z.boolean(), "true", true],
    ['"false"', z.boolean(), "false", false],
    ["1 for true", z.boolean(), "1", true],
    ["0 for false", z.boolean(), "0", false],
    ["text for a stringbool", z.stringbool(), "false", "false"],
    ["one of a few words", z.enum(["auto", "json"]), "json", "json"],
    ["a nullable number", z.number().nullable(), "5", 5],
    ["an optional boolean", z.boolean().optional(), "false", false],
    ["a number or one word, given as a number", z.union([z.number(), z.literal("auto")]), "5", 5],
    ["a number or one word, given as the word", z.union([z.number(), z.literal("auto")]), "auto", "auto"],
    ["text or a number, as text", z.union([z.number(), z.string()]), "007", "007"],
    ["a boolean or text, given as a boolean", z.union([z.boolean(), z.string()]), "false", false],
    ["a boolean or text, given as text", z.union([z.boolean(), z.string()]), "10.0.0.0/8", "10.0.0.0/8"],
    ["a list of texts", z.array(z.string()), "a, b,,c", ["a", "b", "c"]],
    ["an optional list of numbers", z.array(z.number()).nullable(), "1,2", [1, 2]],
    ["a list of one text", z.array(z.string()), "a", ["a"]],
    ["a list of numbers", z.array(z.number()), "1,2", [1, 2]],
    ["a list in JSON", z.array(z.string()), '["a,b", "c"]', ["a,b", "c"]],
    ["an object in JSON", z.record(z.string(), z.number()), '{"a": 1}', { a: 1 }],
  ];
  for (const [name, schema, text, value] of good) {
    it(`reads ${name}`, () => assert.deepEqual(parseText(leafOf(schema), text), { value }));
  }

  const bad: readonly (readonly [z.ZodType, string, string])[] = [
    [z.number(), "5s", 'expected a number, got "5s"'],
    [z.number(), "  ", 'expected a number, got "  "'],
    [z.number(), "0x10", 'expected a number, got "0x10"'],
    [z.number(), "Infinity", 'expected a number, got "Infinity"'],
    [z.number(), "NaN", 'expected a number, got "NaN"'],
    [z.boolean(), "yes", 'expected true or false, got "yes"'],
    [z.boolean(), "False", 'expected true or false, got "False"'],
    [z.union([z.boolean(), z.number()]), "x", 'expected true or false, or a number, got "x"'],
    [z.array(z.string()), '["a"', 'expected JSON or a comma-separated list, got "[\\"a\\""'],
    [z.record(z.string(), z.number()), "a=1", 'expected JSON, got "a=1"'],
  ];
  for (const [schema, text, problem] of bad) {
    it(`refuses "${text}": ${problem}`, () => {
      assert.deepEqual(parseText(leafOf(schema), text), { problem });
    });
  }

  const secrets: readonly (readonly [string, z.ZodType])[] = [
    ["a list of secrets", z.array(secretString("keys"))],
    ["secrets by name", z.record(z.string(), secretString("keys"))],
    ["an optional list of objects with a secret", z.array(z.strictObject({ key: secretString("key") })).optional()],
  ];
  for (const [name, schema] of secrets) {
    it(`does not repeat a wrong value of ${name}`, () => {
      const parsed = parseText(leafOf(schema), '{"hunter2');
      assert.ok("problem" in parsed);
      assert.match(parsed.problem, /got \*\*\*$/);
    });
  }

  const wrongKeys: readonly (readonly [string, string, string])[] = [
    ["__proto__", '{"__proto__": {"admin": true}, "a": 1}', 'the key "__proto__" is never allowed'],
    ["an escaped __proto__", String.raw`{"a": {"\u005f_proto__": 1}}`, 'the key "__proto__" is never allowed'],
    ["constructor", '{"constructor": {"prototype": 1}}', 'the key "constructor" is never allowed'],
    ["a key that stands twice", '{"a": 1, "b": {"a": 2}, "a": 3}', 'the key "a" stands twice'],
    ["one in a list", '[{"a": 1, "a": 2}]', 'the key "a" stands twice'],
  ];
  for (const [name, text, problem] of wrongKeys) {
    it(`refuses ${name} in JSON`, () => {
      const schema = text.startsWith("[") ? z.array(z.unknown()) : z.record(z.string(), z.unknown());
      assert.deepEqual(parseText(leafOf(schema), text), { problem });
      assert.equal(Reflect.get({}, "admin"), undefined);
    });
  }

  it("takes JSON whose texts look like keys", () => {
    const text = String.raw`{"a": "x: {", "b": ["a", "a", "\"a\":"], "c": {"a": 1}, "d": {"a": 2}}`;
    assert.deepEqual(parseText(leafOf(z.record(z.string(), z.unknown())), text), { value: JSON.parse(text) });
  });

  it("names no key of a secret that it refuses", () => {
    const parsed = parseText(leafOf(z.record(z.string(), secretString("k"))), '{"hunter2": "a", "hunter2": "b"}');
    assert.ok("problem" in parsed);
    assert.doesNotMatch(parsed.problem, /hunter2/);
  });

  it("refuses what was no UTF-8 when the system gave it", () => {
    const text = Buffer.from([0x61, 0xff]).toString();
    assert.deepEqual(parseText(leafOf(z.string()), text), { problem: 'expected UTF-8, got "a\uFFFD"' });
  });

  it("refuses JSON that is nested without end", () => {
    const parsed = parseText(leafOf(z.array(z.unknown())), "[".repeat(1_000_000));
    assert.ok("problem" in parsed && parsed.problem.length < 200);
  });

  it("cuts a huge wrong value short", () => {
    const parsed = parseText(leafOf(z.number()), "x".repeat(100_000));
    assert.ok("problem" in parsed && parsed.problem.length < 200);
  });
});
