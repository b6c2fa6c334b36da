import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { leavesOf, parseVariable, variableName } from "./environment.ts";
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
    it(`is ${name} for ${path.join(" / ")}`, () => assert.equal(variableName("PLINTH_", path), name));
  }
});

/** The leaf of a section with one field `value`. */
function leafOf(field: z.ZodType): ReturnType<typeof leavesOf>[number] {
  const [leaf] = leavesOf(z.toJSONSchema(z.strictObject({ value: field }), { io: "input" }), ["s"]);
  assert.ok(leaf);
  return leaf;
}

describe("parseVariable", () => {
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
    ["a list of one text", z.array(z.string()), "a", ["a"]],
    ["a list of numbers", z.array(z.number()), "1,2", [1, 2]],
    ["a list in JSON", z.array(z.string()), '["a,b", "c"]', ["a,b", "c"]],
    ["an object in JSON", z.record(z.string(), z.number()), '{"a": 1}', { a: 1 }],
  ];
  for (const [name, schema, text, value] of good) {
    it(`reads ${name}`, () => assert.deepEqual(parseVariable(leafOf(schema), text, "V"), { value }));
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
      assert.deepEqual(parseVariable(leafOf(schema), text, "V"), { fault: { key: "s.value", problem, source: "V" } });
    });
  }

  const secrets: readonly (readonly [string, z.ZodType])[] = [
    ["a list of secrets", z.array(secretString("keys"))],
    ["secrets by name", z.record(z.string(), secretString("keys"))],
    ["an optional list of objects with a secret", z.array(z.strictObject({ key: secretString("key") })).optional()],
  ];
  for (const [name, schema] of secrets) {
    it(`does not repeat a wrong value of ${name}`, () => {
      const parsed = parseVariable(leafOf(schema), '{"hunter2', "V");
      assert.ok("fault" in parsed);
      assert.match(parsed.fault.problem, /got \*\*\*$/);
    });
  }

  it("makes nothing of __proto__ in JSON", () => {
    const parsed = parseVariable(
      leafOf(z.record(z.string(), z.unknown())),
      '{"__proto__": {"admin": true}, "a": 1}',
      "V",
    );
    assert.ok("value" in parsed);
    assert.deepEqual(Object.getOwnPropertyNames(parsed.value), ["a"]);
    assert.equal(Reflect.get(parsed.value as object, "admin"), undefined);
    assert.equal(Reflect.get({}, "admin"), undefined);
  });

  it("cuts a huge wrong value short", () => {
    const parsed = parseVariable(leafOf(z.number()), "x".repeat(100_000), "V");
    assert.ok("fault" in parsed && parsed.fault.problem.length < 200);
  });
});
