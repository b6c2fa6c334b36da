import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { type ConfigDocument, parseConfig } from "./file.ts";
import { secretString } from "./secret.ts";
import { defineSettings } from "./settings.ts";
import type { ConfigSources } from "./snapshot.ts";
import { createConfigStore } from "./store.ts";

const http = defineSettings(
  "http",
  z.strictObject({
    port: z.int().default(80),
    ratio: z.number().default(0.5),
    on: z.boolean().default(false),
    host: z.string().default("a"),
    map: z.record(z.string(), z.unknown()).default({}),
    key: secretString("k").optional(),
  }),
);

let folder = "";
const prototypeKeys = Reflect.ownKeys(Object.prototype);
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-hostile-"));
});
after(() => {
  rmSync(folder, { recursive: true });
  assert.deepEqual(Reflect.ownKeys(Object.prototype), prototypeKeys);
  assert.equal(Reflect.get({}, "admin"), undefined);
});

function fileOf(content: string | Buffer): string {
  writeFileSync(join(folder, "config.yaml"), content);
  return join(folder, "config.yaml");
}

function remote(data: unknown): Partial<ConfigSources> {
  // what a source in JavaScript may give
  const document = { data, places: new Map() } as ConfigDocument;
  return { sources: [{ name: "remote", load: () => Promise.resolve(document) }] };
}

function remoteText(text: string): Partial<ConfigSources> {
  return { sources: [{ name: "remote", load: async () => parseConfig(text, "remote") }] };
}

/** The section, or the lines of the faults; nothing else comes of a load. */
async function load(sources: Partial<ConfigSources>): Promise<Record<string, unknown> | readonly string[]> {
  try {
    const store = await createConfigStore([http], { environment: {}, ...sources });
    return { ...store.get(http) };
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.message.split("\n").length, Math.min(error.faults.length, 101) + 1);
    assert.doesNotMatch(error.message.replaceAll("\n", ""), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    return error.faults.map(({ key, problem, source }) => `${key}: ${problem} (${source.replace(`${folder}/`, "")})`);
  }
}

async function faultsOf(sources: Partial<ConfigSources>): Promise<readonly string[]> {
  const result = await load(sources);
  assert.ok(Array.isArray(result), JSON.stringify(result));
  return result;
}

/** The same value for one key from each source that has text. */
function everywhere(key: string, text: string): Readonly<Record<string, Partial<ConfigSources>>> {
  const yaml = `http: {${key}: ${text}}\n`;
  const bare = text.replaceAll(/^["']|["']$/g, "");
  return {
    "the file": { file: fileOf(yaml) },
    "a remote document": remoteText(yaml),
    "a variable": { environment: { [`PLINTH_HTTP_${key.toUpperCase()}`]: bare } },
    "an argument": { arguments: [`--http.${key}=${bare}`] },
  };
}

describe("hostile keys", () => {
  for (const key of ["__proto__", "constructor", "prototype"]) {
    const nested = `{"http": {"map": {"${key}": {"admin": true}}}}`;
    const sources: Readonly<Record<string, () => Partial<ConfigSources>>> = {
      "the file": () => ({ file: fileOf(nested) }),
      "a section of the file": () => ({ file: fileOf(`{"${key}": {"admin": true}}`) }),
      "a remote text": () => remoteText(nested),
      "remote data": () => remote(JSON.parse(nested)),
      "a section of remote data": () => remote(JSON.parse(`{"${key}": {"admin": true}}`)),
      "remote data in a list": () => remote(JSON.parse(`{"http": {"map": {"a": [{"${key}": {"admin": true}}]}}}`)),
      "the code": () => ({ defaults: JSON.parse(nested) }),
      overrides: () => ({ overrides: JSON.parse(nested) }),
      "a variable's JSON": () => ({ environment: { PLINTH_HTTP_MAP: `{"${key}": {"admin": true}}` } }),
      "a variable's JSON, deep": () => ({ environment: { PLINTH_HTTP_MAP: `{"a": [{"${key}": {"admin": true}}]}` } }),
      "an argument's JSON": () => ({ arguments: [`--http.map={"${key}": {"admin": true}}`] }),
      "an argument": () => ({ arguments: [`--${key}.admin=1`] }),
      "an argument in a section": () => ({ arguments: [`--http.${key}.admin`, "1"] }),
      "a variable": () => ({ environment: { [`PLINTH_HTTP_${key.toUpperCase()}_ADMIN`]: "1" } }),
    };
    for (const [place, make] of Object.entries(sources)) {
      it(`refuses ${key} in ${place}`, async () => {
        assert.equal((await faultsOf(make())).length, 1);
        assert.equal(Reflect.get({}, "admin"), undefined);
        assert.equal(Reflect.get(Object.prototype, "admin"), undefined);
      });
    }
  }

  it("refuses a section of such a name in code", async () => {
    const settings = defineSettings("__proto__", z.strictObject({ admin: z.boolean().default(true) }));
    await assert.rejects(createConfigStore([settings], { environment: {} }), {
      message: /__proto__: this name is never allowed/,
    });
  });
});

describe("values that look like others", () => {
  const cases: readonly (readonly [string, string, readonly unknown[]])[] = [
    // key, text, and what comes of it in the file, remotely, in a variable, in an argument: a value, or a fault
    ["port", '"8080"', [/expected number, received string, got "8080"/, /got "8080"/, 8080, 8080]],
    ["port", "8080.0", [8080, 8080, 8080, 8080]],
    ["port", '""', [/got ""/, /got ""/, 80, /expected a number, got ""/]],
    ["host", '""', ["", "", "a", ""]],
    ["host", '"5"', ["5", "5", "5", "5"]],
    ["host", "5", [/expected string, received number, got 5/, /got 5/, "5", "5"]],
    ["on", '"false"', [/expected boolean, received string, got "false"/, /got "false"/, false, false]],
    ["on", "false", [false, false, false, false]],
    ["on", "no", [/got "no"/, /got "no"/, /got "no"/, /got "no"/]],
    ["ratio", ".nan", [/received NaN/, /received NaN/, /got "\.nan"/, /got "\.nan"/]],
    ["ratio", ".inf", [/got Infinity/, /got Infinity/, /got "\.inf"/, /got "\.inf"/]],
    ["ratio", "1e999", [/got Infinity/, /got Infinity/, /got Infinity/, /got Infinity/]],
    ["port", "0x10", [16, 16, /got "0x10"/, /got "0x10"/]],
    ["port", "null", [/received null/, /received null/, /got "null"/, /got "null"/]],
    [
      "map",
      '{"a": 1, "a": 2}',
      [/this key stands twice/, /this key stands twice/, /"a" stands twice/, /"a" stands twice/],
    ],
  ];
  for (const [key, text, expected] of cases) {
    it(`has ${key}: ${text} right, or tells the fault, from each source`, async () => {
      for (const [index, [place, sources]] of Object.entries(everywhere(key, text)).entries()) {
        const want = expected[index];
        const got = await load(sources);
        if (want instanceof RegExp) assert.match(Array.isArray(got) ? got.join() : JSON.stringify(got), want, place);
        else assert.equal(Array.isArray(got) ? got.join() : Reflect.get(got, key), want, place);
      }
    });
  }
});

describe("huge and deep input", () => {
  it("refuses a file of 10 MB unread, and such a text from afar within its limits", async () => {
    assert.match(
      (await faultsOf({ file: fileOf(`http: {host: "${"x".repeat(10_000_000)}"}`) })).join(),
      /it has 100000\d\d bytes, at most 1048576/,
    );
  });

  it("refuses more values than any config has", async () => {
    const text = `http: {map: {a: [${"1,".repeat(150_000)}]}}`;
    assert.deepEqual(await faultsOf({ file: fileOf(text) }), [
      "config.yaml: more than 100000 values (config.yaml:1)".replace("config.yaml:", `${folder}/config.yaml:`),
    ]);
  });

  it("refuses keys that are longer than any name", async () => {
    const key = "k".repeat(300_000);
    const [fault = ""] = await faultsOf({ file: fileOf(`http: {map: {${key}: {a: 1}}}`) });
    assert.match(fault, /^http\.map\.k+…: a key with all above it has at most 1024 characters/);
    assert.ok(fault.length < 500);
  });

  it("cuts the name of a huge argument, variable or section short", async () => {
    const name = "K".repeat(1_000_000);
    for (const sources of [
      { arguments: [`--http.${name}=1`] },
      { environment: { [`PLINTH_HTTP_${name}`]: "1" } },
      remote({ [name]: {} }),
      { overrides: { http: { [name]: 1 } } },
    ]) {
      assert.ok((await faultsOf(sources)).join().length < 2_500);
    }
  });

  it("refuses a bomb of anchors from each source", async () => {
    const levels = Array.from({ length: 30 }, (_, level) => `l${level + 1}: &l${level + 1} [*l${level}, *l${level}]`);
    const bomb = ["l0: &l0 x", ...levels].join("\n");
    for (const sources of [{ file: fileOf(bomb) }, remoteText(bomb)]) {
      assert.match((await faultsOf(sources)).join("\n"), /aliases and anchors are not followed/);
    }
    const flow = "{a: &a [x], b: *a}";
    assert.match((await faultsOf({ environment: { PLINTH_HTTP_MAP: flow } })).join(), /expected JSON/);
    assert.match((await faultsOf({ arguments: ["--http.map", flow] })).join(), /expected JSON/);
  });

  it("refuses what is nested without end, from each source", async () => {
    let deep: unknown = 1;
    for (let level = 0; level < 10_000; level++) deep = { a: deep };
    const json = `${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}`;
    for (const sources of [
      { file: fileOf(`http: {map: ${json}}`) },
      remoteText(`http: {map: ${json}}`),
      remote({ http: { map: deep } }),
      { defaults: { http: { map: { a: deep } } } },
      { environment: { PLINTH_HTTP_MAP: json } },
      { arguments: [`--http.map=${json}`] },
    ]) {
      assert.match((await faultsOf(sources)).join("\n"), /nested (too deep|deeper than 64 levels)/);
    }
  });

  it("refuses data that holds itself", async () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const list: unknown[] = [];
    list.push(list, list);
    assert.match(
      (await faultsOf(remote({ http: { map: circle } }))).join(),
      /^http\.map\.self: holds itself \(remote\)/,
    );
    assert.match(
      (await faultsOf({ defaults: { http: { map: { list } } } })).join(),
      /^http\.map\.list\.0: holds itself \(code\)/,
    );
  });

  it("refuses data that cannot be read", async () => {
    const getter = {
      get port(): number {
        throw new Error("not now");
      },
    };
    assert.deepEqual(await faultsOf({ overrides: { http: getter } }), ["config: cannot be read: not now (override)"]);
  });
});

describe("text that is hostile to who reads it", () => {
  const evil = "x\n  http.port: all is well (forged)\u001B[2J\u001B]0;t\u0007\u009B\u202E\u2028\uFEFF\u0000\uD800";

  it("forges no line and moves no cursor, from whatever place of whatever source", async () => {
    const json = JSON.stringify(evil);
    const places: readonly Partial<ConfigSources>[] = [
      { file: fileOf(`http: {${json}: 1}`) },
      { file: fileOf(`${json}: {}`) },
      { file: fileOf(`http: {port: ${json}}`) },
      remote({ http: { [evil]: 1 } }),
      remote({ [evil]: 1 }),
      { sources: [{ name: evil, load: () => Promise.reject(new Error(evil)) }] },
      { environment: { [`PLINTH_HTTP_${evil}`]: "1" } },
      { environment: { PLINTH_HTTP_PORT: evil } },
      { environment: { PLINTH_HTTP_KEY: `file:${evil}` } },
      { environment: { PLINTH_CONFIG: evil } },
      { environment: { PLINTH_PROFILE: evil } },
      { arguments: [`--${evil}=1`] },
      { arguments: [`--http.port=${evil}`] },
      { arguments: [evil] },
      { overrides: { http: { port: evil } } },
    ];
    for (const sources of places) {
      const faults = await faultsOf(sources); // which looks at the whole message
      assert.ok(faults.length > 0);
      assert.doesNotMatch(faults.join(""), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
    }
  });

  it("reaches the value as it is where text is wanted", async () => {
    const text = "line 1\nline 2\u001B";
    assert.deepEqual(Reflect.get(await load({ environment: { PLINTH_HTTP_HOST: text } }), "host"), text);
  });

  it("refuses bytes that are no UTF-8", async () => {
    const bytes = Buffer.from([0x68, 0x3a, 0x20, 0xff]);
    assert.match((await faultsOf({ file: fileOf(bytes) })).join(), /cannot be read: .*utf-8/);
    const text = bytes.toString(); // as the system's bytes arrive
    assert.match((await faultsOf({ environment: { PLINTH_HTTP_HOST: text } })).join(), /expected UTF-8/);
    assert.match((await faultsOf({ arguments: ["--http.host", text] })).join(), /expected UTF-8/);
  });

  it("drops a byte order mark of a file and of a remote text", async () => {
    for (const sources of [{ file: fileOf("\uFEFFhttp: {port: 1}") }, remoteText("\uFEFFhttp: {port: 1}")]) {
      assert.equal(Reflect.get(await load(sources), "port"), 1);
    }
  });

  it("writes a hundred faults out, and counts the others", async () => {
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`x${index}`, {}]));
    await assert.rejects(createConfigStore([http], { environment: {}, overrides: many }), (error: ConfigError) => {
      assert.equal(error.faults.length, 500);
      assert.match(error.message, /^500 faults in the config:\n/);
      assert.match(error.message, /\n {2}and 400 more$/);
      return true;
    });
  });
});
