import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { type ConfigEntry, renderExplanation } from "./explain.ts";
import { Secret, secretString } from "./secret.ts";
import { defineSettings, type SettingsToken } from "./settings.ts";
import { type ConfigStore, createConfigStore } from "./store.ts";
import type { ConfigSources } from "./snapshot.ts";

const log = defineSettings(
  "log",
  z.strictObject({
    level: z.string().default("info").meta({ description: "What is written." }),
    levels: z.record(z.string(), z.string()).default({}),
    format: z.string().default("json"),
  }),
  { reloadable: ["level", "levels"] },
);
const database = defineSettings(
  "database",
  z.strictObject({
    url: secretString("where").optional(),
    keys: z.array(secretString("k")).default([]),
    zone: z.string().optional(),
  }),
);

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-explain-"));
});
after(() => rmSync(folder, { recursive: true }));

function open(sections: readonly SettingsToken[], sources: Partial<ConfigSources> = {}): Promise<ConfigStore> {
  return createConfigStore(sections, { environment: {}, ...sources });
}

/** One line for each entry: `key = value (source < overridden)`. */
function linesOf(entries: readonly ConfigEntry[]): readonly string[] {
  return entries.map(({ key, value, source, overridden }) =>
    `${key} = ${JSON.stringify(value)} (${[source, ...overridden.map((lost) => lost.source)].join(" < ")})`.replaceAll(
      `${folder}/`,
      "",
    ),
  );
}

describe("explain", () => {
  it("gives every value by section, in the order of the schema, defaults and what is not set included", async () => {
    const store = await open([log, database]);
    assert.deepEqual(linesOf(store.explain()), [
      "database.url = undefined (default)",
      'database.keys = "***" (default)',
      "database.zone = undefined (default)",
      'log.level = "info" (default)',
      "log.levels = {} (default)",
      'log.format = "json" (default)',
    ]);
  });

  it("names the source that won and those that lost, of a map for each entry", async () => {
    const file = join(folder, "config.yaml");
    writeFileSync(file, "log:\n  level: a\n  levels: {http: x, grpc: y}\n");
    const store = await open([log], {
      defaults: { log: { level: "c", levels: { http: "z" } } },
      file,
      environment: { PLINTH_LOG_LEVEL: "b", PLINTH_LOG_LEVELS: '{"http": "v"}' },
      arguments: ["--log.format=pretty"],
    });
    assert.deepEqual(linesOf(store.explain()), [
      'log.level = "b" (PLINTH_LOG_LEVEL < config.yaml:2 < code)',
      'log.levels.http = "v" (PLINTH_LOG_LEVELS < config.yaml:3 < code)',
      'log.levels.grpc = "y" (config.yaml:3)',
      'log.format = "pretty" (--log.format)',
    ]);
  });

  it("forgets what stood in a list or a map that is replaced as a whole", async () => {
    const any = defineSettings("any", z.strictObject({ v: z.unknown() }));
    const store = await open([any], { defaults: { any: { v: { a: 1 } } }, overrides: { any: { v: [2] } } });
    assert.deepEqual(linesOf(store.explain()), ["any.v = [2] (override < code)"]);
  });

  it("tells what is secret, what is reloadable and what it is for", async () => {
    const entries = (await open([log, database])).explain();
    const of = (name: string): ConfigEntry | undefined => entries.find(({ key }) => key === name);
    assert.deepEqual(
      [of("log.level"), of("log.format"), of("database.url")].map((entry) => [entry?.isReloadable, entry?.isSecret]),
      [
        [true, false],
        [false, false],
        [false, true],
      ],
    );
    assert.equal(of("log.level")?.description, "What is written.");
  });

  it("shows no secret, from wherever it comes", async () => {
    writeFileSync(join(folder, "secret"), "hunter3");
    const store = await open([database], {
      environment: { PLINTH_DATABASE_URL: `file:${join(folder, "secret")}`, PLINTH_DATABASE_KEYS: "hunter2" },
    });
    assert.deepEqual(linesOf(store.explain()).slice(0, 2), [
      'database.url = "***" (PLINTH_DATABASE_URL, file secret)',
      'database.keys = "***" (PLINTH_DATABASE_KEYS)',
    ]);
    assert.doesNotMatch(JSON.stringify(store.explain()) + renderExplanation(store.explain()), /hunter/);
  });

  it("gives plain data for whatever schemas make", async () => {
    const made = defineSettings(
      "made",
      z.strictObject({ v: z.unknown() }).transform(() => ({
        v: [
          new URL("http://a"),
          new Date(0),
          new Date(NaN),
          /x/g,
          new Secret("hunter2"),
          10n,
          Number.NaN,
          new Map([[1, 2]]),
          null,
        ],
      })),
    );
    const [entry] = (await open([made], { overrides: { made: { v: 1 } } })).explain();
    assert.deepEqual(entry?.value, [
      "http://a/",
      "1970-01-01T00:00:00.000Z",
      "Invalid Date",
      "/x/g",
      "***",
      "10n",
      "NaN",
      "Map(1) { 1 => 2 }",
      null,
    ]);
  });

  it("shows what a section holds whose schema tells no keys, but no Secret", async () => {
    const own = defineSettings("own", {
      "~standard": { version: 1, vendor: "test", validate: () => ({ value: { a: 1, key: new Secret("hunter2") } }) },
    });
    const entries = (await open([own])).explain();
    assert.deepEqual(linesOf(entries), ["own.a = 1 (default)", 'own.key = "***" (default)']);
  });

  it("follows a reload", async () => {
    const environment: Record<string, string> = {};
    const store = await open([log], { environment });
    environment.PLINTH_LOG_LEVEL = "debug";
    await store.reload();
    assert.equal(linesOf(store.explain())[0], 'log.level = "debug" (PLINTH_LOG_LEVEL)');
  });
});

describe("renderExplanation", () => {
  it("aligns key, value and source, and says what was overridden and what is reloadable", async () => {
    const store = await open([log, database], {
      defaults: { log: { level: "warn" } },
      environment: { PLINTH_LOG_LEVEL: "error", PLINTH_DATABASE_URL: "hunter2" },
    });
    assert.equal(
      renderExplanation(store.explain()),
      `key            value    source
database.url   "***"    PLINTH_DATABASE_URL
database.keys  "***"    default
database.zone  -        default
log.level      "error"  PLINTH_LOG_LEVEL     over code; reloadable
log.levels     {}       default              reloadable
log.format     "json"   default
`,
    );
  });

  it("writes control characters out, and cuts what is long", async () => {
    const levels = { "a\u001B[2J\nforged": "x\u202Ey\u0007", long: "z".repeat(1_000) };
    const name = "remote\u001B[2J\n";
    const data = { log: { level: "a" } };
    const store = await open([log], {
      sources: [
        { name, load: () => Promise.resolve({ data, places: new Map() }) },
        { name: `${name}2`, load: () => Promise.resolve({ data, places: new Map() }) },
      ],
      overrides: { log: { levels } },
    });
    const text = renderExplanation(store.explain());
    assert.equal(text.split("\n").length, 6);
    assert.ok(text.includes(String.raw`log.levels.a\u{1b}[2J\nforged`), text);
    assert.doesNotMatch(text.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u);
    assert.ok(text.split("\n").every((line) => line.length < 200));
  });
});
