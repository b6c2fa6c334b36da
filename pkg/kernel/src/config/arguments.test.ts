import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { readArguments, splitArguments } from "./arguments.ts";
import { declare } from "./declared.ts";
import { secretString } from "./secret.ts";
import { defineSettings } from "./settings.ts";

const declared = declare([
  defineSettings(
    "http",
    z.strictObject({
      port: z.int().default(80),
      host: z.string().default("a"),
      accessLog: z.boolean().default(false),
      cors: z.strictObject({ origins: z.array(z.string()).default([]) }).prefault({}),
      mode: z.union([z.boolean(), z.literal("auto")]).default("auto"),
    }),
  ),
  defineSettings("database", z.strictObject({ url: secretString("where").optional() })),
]);

function read(...words: string[]): { readonly data: unknown; readonly faults: readonly string[] } {
  const { data, faults } = readArguments(declared, splitArguments(words));
  return {
    data: structuredClone(data),
    faults: faults.map(({ key, problem, source }) => `${key}: ${problem} (${source})`),
  };
}

describe("arguments", () => {
  const taken: readonly (readonly [string, readonly string[], unknown])[] = [
    ["a value after =", ["--http.port=8080"], { http: { port: 8080 } }],
    ["a value in the next word", ["--http.port", "8080"], { http: { port: 8080 } }],
    ["a negative number in the next word", ["--http.port", "-1"], { http: { port: -1 } }],
    ["a value with = in it", ["--http.host=a=b=c"], { http: { host: "a=b=c" } }],
    ["a value of several lines", ["--http.host=a\nb"], { http: { host: "a\nb" } }],
    ["an empty value, which is one", ["--http.host="], { http: { host: "" } }],
    ["a value that begins as a key does, after =", ["--http.host=--x"], { http: { host: "--x" } }],
    ["a bare boolean", ["--http.accessLog"], { http: { accessLog: true } }],
    [
      "a bare boolean before another key",
      ["--http.accessLog", "--http.port=1"],
      { http: { accessLog: true, port: 1 } },
    ],
    ['"false"', ["--http.accessLog", "false"], { http: { accessLog: false } }],
    ["0 for false", ["--http.accessLog=0"], { http: { accessLog: false } }],
    ["a bare key that may be a boolean", ["--http.mode"], { http: { mode: true } }],
    ["a list", ["--http.cors.origins", "a,b"], { http: { cors: { origins: ["a", "b"] } } }],
    ["nothing", [], {}],
  ];
  for (const [name, words, data] of taken) {
    it(`take ${name}`, () => assert.deepEqual(read(...words), { data, faults: [] }));
  }

  it("name the file and the profile, in both forms", () => {
    const split = splitArguments(["--config", "a.yaml", "--profile=live"]);
    assert.deepEqual([split.file, split.profile, [...split.given], split.faults], ["a.yaml", "live", [], []]);
  });

  const refused: readonly (readonly [string, readonly string[], string])[] = [
    ["an unknown key", ["--http.prot=1"], 'http.prot: unknown key; did you mean "http.port"? (--http.prot)'],
    ["an unknown section", ["--htpp.port=1"], 'htpp.port: unknown key; did you mean "http.port"? (--htpp.port)'],
    ["a section", ["--http=1"], "http: unknown key (--http)"],
    ["a misspelled --config", ["--confg", "x"], 'confg: unknown key; did you mean "config"? (--confg)'],
    ["a missing value", ["--http.port"], "http.port: it needs a value: --http.port=… (--http.port)"],
    ["a value of the wrong type", ["--http.port=x"], 'http.port: expected a number, got "x" (--http.port)'],
    ["an empty number", ["--http.port="], 'http.port: expected a number, got "" (--http.port)'],
    [
      "a bare boolean with another word",
      ["--http.accessLog", "yes"],
      'http.accessLog: expected true or false, got "yes" (--http.accessLog)',
    ],
    [
      "a key that stands twice",
      ["--http.port=1", "--http.port=2"],
      "http.port: this argument stands twice (--http.port)",
    ],
    ["--config twice", ["--config=a", "--config", "b"], "config: this argument stands twice (--config)"],
    ["--config without a value", ["--config"], "command line: it needs a value (--config)"],
    ["--profile with an empty one", ["--profile="], "command line: it needs a value (--profile)"],
  ];
  for (const [name, words, fault] of refused) {
    it(`refuse ${name}`, () => assert.deepEqual(read(...words).faults, [fault]));
  }

  for (const word of ["serve", "-p", "--", "--=x", "", "-"]) {
    it(`refuse the word ${JSON.stringify(word)}, by its position`, () => {
      const expected = "expected --key=value, --key value or --key, with a key such as http.port (argument 2)";
      assert.deepEqual(read("--http.port=1", word, "--http.host=b"), {
        data: { http: { port: 1, host: "b" } },
        faults: [`command line: ${expected}`],
      });
    });
  }

  it("tell every fault", () => {
    assert.equal(read("x", "--http.port", "--a.b", "--http.host", "y", "z").faults.length, 4);
  });

  for (const key of [
    "__proto__.admin",
    "__proto__",
    "http.__proto__.admin",
    "constructor.prototype.admin",
    "http.constructor",
  ]) {
    it(`refuse --${key}, and Object.prototype stays clean`, () => {
      const { data, faults } = read(`--${key}=1`);
      assert.deepEqual([data, faults], [{}, [`${key}: unknown key (--${key})`]]);
      assert.equal(Reflect.get({}, "admin"), undefined);
    });
  }

  it("repeat no value whose key is misspelled or that stands alone", () => {
    const words = [
      "--database.ulr",
      "hunter2",
      "hunter2",
      "--database.urll=hunter2",
      "--database.url",
      "--http.port=1",
    ];
    const { faults } = read(...words);
    assert.equal(faults.length, 4);
    assert.doesNotMatch(faults.join("\n"), /hunter2/);
  });
});
