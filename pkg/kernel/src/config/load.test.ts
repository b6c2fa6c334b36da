import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { type ConfigSources, loadConfig } from "./load.ts";
import { Secret, secretString } from "./secret.ts";
import { defineSettings, type SettingsToken } from "./settings.ts";

const http = defineSettings(
  "http",
  z.strictObject({
    port: z.int().min(1).max(65_535).default(8080),
    host: z.string().default("127.0.0.1"),
    cors: z
      .strictObject({ origins: z.array(z.string()).default([]), credentials: z.boolean().default(false) })
      .prefault({}),
  }),
);
const store = defineSettings(
  "store",
  z.strictObject({ url: secretString("where it is").optional(), keys: z.array(secretString("key")).default([]) }),
);

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-config-"));
});
after(() => rmSync(folder, { recursive: true }));

function fileOf(content: string): string {
  const path = join(folder, "config.yaml");
  writeFileSync(path, content);
  return path;
}

type Sources = Partial<ConfigSources>;

async function load(sections: readonly SettingsToken[], sources: Sources = {}): Promise<ReadonlyMap<string, unknown>> {
  return loadConfig(sections, { environment: {}, ...sources });
}

/** One line for each fault of what must be refused, the folder cut from its place. */
async function faultsOf(sections: readonly SettingsToken[], sources: Sources): Promise<string[]> {
  try {
    await load(sections, sources);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const lines = error.faults.map(({ key, problem, source }) => `${key}: ${problem} (${source})`);
    for (const line of lines) assert.ok(error.message.includes(line));
    assert.ok(error.message.startsWith(`${lines.length} fault`));
    return lines.map((line) => line.replace(`${folder}/`, ""));
  }
  return assert.fail("it was taken");
}

describe("loadConfig", () => {
  it("takes the defaults of the schema when nothing else is given", async () => {
    const config = await load([http]);
    assert.deepEqual(config.get("http"), {
      port: 8080,
      host: "127.0.0.1",
      cors: { origins: [], credentials: false },
    });
  });

  it("lets code win over defaults, the file over code, the environment over the file, overrides over all", async () => {
    const layers: readonly (readonly [number, Sources])[] = [
      [8080, {}],
      [1, { defaults: { http: { port: 1 } } }],
      [2, { file: fileOf("http:\n  port: 2\n") }],
      [3, { environment: { PLINTH_HTTP_PORT: "3" } }],
      [4, { overrides: { http: { port: 4 } } }],
    ];
    const sources: Sources = {};
    for (const [port, layer] of layers) {
      Object.assign(sources, layer);
      assert.deepEqual(Reflect.get((await load([http], sources)).get("http") as object, "port"), port);
    }
  });

  it("merges sections field by field, and replaces lists whole", async () => {
    const config = await load([http], {
      defaults: { http: { host: "a", cors: { origins: ["x", "y"], credentials: true } } },
      file: fileOf("http:\n  cors:\n    origins: [z]\n"),
    });
    assert.deepEqual(config.get("http"), { port: 8080, host: "a", cors: { origins: ["z"], credentials: true } });
  });

  it("keeps what code set under a section that the file leaves empty", async () => {
    const config = await load([http], { defaults: { http: { port: 1 } }, file: fileOf("http:\n  # port: 2\n") });
    assert.equal(Reflect.get(config.get("http") as object, "port"), 1);
  });

  it("finds the file that PLINTH_CONFIG names; one given in code wins", async () => {
    const path = fileOf("http: {port: 5}\n");
    const config = await load([http], { environment: { PLINTH_CONFIG: path } });
    assert.equal(Reflect.get(config.get("http") as object, "port"), 5);
    await assert.rejects(load([http], { file: "/absent.yaml", environment: { PLINTH_CONFIG: path } }), {
      code: "ERR_CONFIG_FILE",
      message: /\/absent\.yaml/,
    });
  });

  it("takes an empty variable, and an empty file name, for absent", async () => {
    const config = await load([http], {
      file: "",
      environment: { PLINTH_CONFIG: "", PLINTH_HTTP_PORT: "", PLINTH_HTTP_HOST: "" },
    });
    assert.equal(Reflect.get(config.get("http") as object, "port"), 8080);
  });

  it('reads types from variables, nested ones and "false" too', async () => {
    const config = await load([http], {
      defaults: { http: { cors: { credentials: true } } },
      environment: { PLINTH_HTTP_CORS_CREDENTIALS: "false", PLINTH_HTTP_CORS_ORIGINS: "a, b", PLINTH_HTTP_HOST: "5" },
    });
    assert.deepEqual(config.get("http"), { port: 8080, host: "5", cors: { origins: ["a", "b"], credentials: false } });
  });

  it("freezes what it returns, and nothing that the caller gave", async () => {
    const any = defineSettings(
      "any",
      z.strictObject({ list: z.unknown(), url: z.instanceof(URL).optional() }).partial(),
    );
    const given = { any: { list: [{ a: [1] }] } };
    const config = await load([http, any], { overrides: given });
    const settings = config.get("any") as { list: { a: number[] }[] };
    assert.throws(() => settings.list[0]?.a.push(2), TypeError);
    assert.ok(Object.isFrozen((config.get("http") as { cors: object }).cors));
    given.any.list.push({ a: [2] });
    given.any.list[0]?.a.push(3);
    assert.equal(settings.list.length, 1);
    assert.deepEqual(settings.list[0]?.a, [1]);
  });

  it("makes secrets of secret fields, from every source", async () => {
    for (const source of [
      { environment: { PLINTH_STORE_URL: "hunter2", PLINTH_STORE_KEYS: "hunter2,x" } },
      { file: fileOf("store:\n  url: hunter2\n  keys: [hunter2]\n") },
      { overrides: { store: { url: "hunter2", keys: ["hunter2"] } } },
    ]) {
      const settings = (await load([store], source)).get("store") as { url: Secret; keys: Secret[] };
      assert.ok(settings.url instanceof Secret);
      assert.equal(settings.url.reveal(), "hunter2");
      assert.equal(settings.keys[0]?.reveal(), "hunter2");
    }
  });

  it("takes any Standard Schema", async () => {
    const own = defineSettings("own", {
      "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: { got: value } }) },
    });
    assert.deepEqual((await load([own], { overrides: { own: [1] } })).get("own"), { got: [1] });
  });

  it("is the same section when two modules bring the same token, and a fault when they declare it twice", async () => {
    assert.equal((await load([http, http])).size, 1);
    const twin = defineSettings("http", z.strictObject({}));
    assert.deepEqual((await faultsOf([http, twin], {}))[0], "http: two modules declare this section (code)");
  });
});

describe("the fault report of loadConfig", () => {
  it("holds every fault, each with key, source, expected and given", async () => {
    const file = fileOf("http:\n  port: 99999\n  cors:\n    origins:\n      - ok\n      - 5\n  hots: x\nstorr: {}\n");
    const faults = await faultsOf([http, store], {
      file,
      environment: { PLINTH_HTTP_CORS_CREDENTIALS: "yes" },
      overrides: { http: { host: 7 } },
    });
    assert.deepEqual(faults, [
      'http.cors.credentials: expected true or false, got "yes" (PLINTH_HTTP_CORS_CREDENTIALS)',
      'storr: no module has this section; did you mean "store"? (config.yaml:8)',
      "http.port: Too big: expected number to be <=65535, got 99999 (config.yaml:2)",
      "http.host: expected string, received number, got 7 (override)",
      "http.cors.origins.1: expected string, received number, got 5 (config.yaml:6)",
      'http.hots: unknown key; did you mean "http.host"? (config.yaml:7)',
    ]);
  });

  it("keeps two different faults of one key apart", async () => {
    const picky = defineSettings("picky", z.strictObject({ name: z.string().min(5).regex(/^x/) }));
    const faults = await faultsOf([picky], { overrides: { picky: { name: "abc" } } });
    assert.equal(faults.length, 2);
  });

  it("tells of a variable that cannot be read once, though its value is then missing as well", async () => {
    const needed = defineSettings("needed", z.strictObject({ port: z.int() }));
    assert.deepEqual(await faultsOf([needed], { environment: { PLINTH_NEEDED_PORT: "x" } }), [
      'needed.port: expected a number, got "x" (PLINTH_NEEDED_PORT)',
    ]);
  });

  it("does not blame a source for what a later one has replaced as a whole", async () => {
    const any = defineSettings(
      "any",
      z
        .strictObject({ v: z.union([z.int(), z.strictObject({ a: z.int() })]) })
        .refine(() => false, { path: ["v", "a"] }),
    );
    const sources = {
      defaults: { any: { v: { a: 1 } } },
      environment: { PLINTH_ANY_V: "5" },
    };
    assert.match((await faultsOf([any], sources)).join(), /^any\.v\.a: .* \(PLINTH_ANY_V\)$/);
  });

  it("says default where nobody gave a value that must be given", async () => {
    const needed = defineSettings("needed", z.strictObject({ port: z.int() }));
    assert.deepEqual(await faultsOf([needed], {}), [
      "needed.port: expected number, received undefined, got nothing (default)",
    ]);
  });

  const leaks: readonly (readonly [string, Sources])[] = [
    ["a secret itself", { overrides: { db: { url: "hunter2", size: 1 } } }],
    ["a list of secrets", { overrides: { db: { keys: ["hunter2"], size: 1 } } }],
    ["a section that holds one", { overrides: { db: { url: "longer-hunter2", size: 5 } } }],
    ["a section of the wrong type", { overrides: { db: "hunter2" } }],
    ["a variable with a secret", { environment: { PLINTH_DB_KEYS: '["hunter2' } }],
    ["an unknown key beside one", { overrides: { db: { urll: "hunter2" } } }],
    ["a file", { file: "" }],
  ];
  for (const [name, sources] of leaks) {
    it(`shows no secret for a fault in ${name}`, async () => {
      const db = defineSettings(
        "db",
        z
          .strictObject({
            url: secretString("where")
              .refine((secret) => secret.reveal().length > 10, "too short")
              .optional(),
            keys: z.array(secretString("key").refine((secret) => secret.reveal().length > 10)).default([]),
            size: z.int().default(5),
          })
          .refine(({ size, url }) => size < 5 || url === undefined, "a url needs a small size"),
      );
      const given = "file" in sources ? { file: fileOf('db:\n  url: hunter2\n  keys: ["hunter2"]\n') } : sources;
      const faults = await faultsOf([db], given);
      assert.ok(faults.length > 0);
      assert.doesNotMatch(faults.join("\n"), /hunter2/);
    });
  }

  it("shows no secret that a validator puts into its message", async () => {
    const own = defineSettings("own", {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value) => ({
          issues: [{ message: `cannot use ${Reflect.get(value as object, "key")}`, path: ["key"] }],
        }),
        jsonSchema: { input: () => ({ properties: { key: { type: "string", writeOnly: true } } }) },
      },
    });
    assert.deepEqual(await faultsOf([own], { overrides: { own: { key: "hunter2" } } }), [
      "own.key: not as expected, got *** (override)",
    ]);
  });

  const told: readonly (readonly [string, string])[] = [
    ["a secret", "postgres://u:hunter2%21@h/x"],
    ["a secret as JSON writes it", 'hunter2\\"x'],
    ["the password of a URL", "hunter2%21"],
    ["the password of a URL, decoded", "hunter2!"],
  ];
  for (const [name, part] of told) {
    it(`shows nothing when the message of another key, or of the whole, tells ${name}`, async () => {
      const url = name.includes("JSON") ? 'hunter2"x' : "postgres://u:hunter2%21@h/x";
      for (const path of [["size"], [], ["url"]]) {
        const db = defineSettings(
          "db",
          z.strictObject({ url: secretString("where"), size: z.int().default(1) }).refine(() => false, {
            path,
            message: `cannot use ${part} of this size`,
          }),
        );
        const faults = await faultsOf([db], { environment: { PLINTH_DB_URL: url } });
        assert.match(faults.join("\n"), /not as expected, got/);
        assert.doesNotMatch(faults.join("\n"), /hunter2/);
      }
    });
  }

  it("shows no secret when a schema throws it", async () => {
    const own = defineSettings(
      "own",
      z.strictObject({ key: secretString("k") }).transform((value) => {
        throw new Error(`bad ${value.key.reveal()}`);
      }),
    );
    const faults = await faultsOf([own], { environment: { PLINTH_OWN_KEY: "hunter2" } });
    assert.deepEqual(faults, ["own: not as expected, got *** (PLINTH_OWN_KEY)"]);
  });

  it("is a fault, not a crash, when a schema throws", async () => {
    const broken = defineSettings("broken", z.strictObject({ a: z.string().refine((text) => new URL(text)) }));
    const faults = await faultsOf([broken, http], { overrides: { broken: { a: "no url" }, http: { port: 0 } } });
    assert.match(faults[0] ?? "", /^broken: the schema itself failed: Invalid URL/);
    assert.match(faults[1] ?? "", /^http\.port: /);
  });

  it("takes types that JSON does not know, and reads them from variables as text", async () => {
    const typed = defineSettings("typed", z.strictObject({ at: z.coerce.date(), url: z.instanceof(URL).optional() }));
    const environment = { PLINTH_TYPED_AT: "2026-01-01" };
    assert.deepEqual((await load([typed], { environment })).get("typed"), { at: new Date("2026-01-01") });
  });

  it("is a fault, not a crash, when a schema has no JSON Schema", async () => {
    const own = defineSettings("own", {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: () => ({ value: {} }),
        jsonSchema: {
          input() {
            throw new Error("cannot say");
          },
        },
      },
    });
    assert.deepEqual(await faultsOf([own], {}), ["own: its schema has no JSON Schema: cannot say (code)"]);
  });

  it("shows values that JSON cannot hold", async () => {
    const faults = await faultsOf([http], { overrides: { http: { port: 10n, host: Symbol("h") } } });
    assert.deepEqual(faults, [
      "http.port: expected number, received bigint, got 10 (override)",
      "http.host: expected string, received symbol, got Symbol(h) (override)",
    ]);
  });
});

describe("loadConfig with hostile input", () => {
  const hostile: Readonly<Record<string, Sources>> = {
    "__proto__ in overrides": {
      overrides: JSON.parse('{"__proto__": {"admin": true}, "http": {"__proto__": {"admin": true}}}'),
    },
    "__proto__ in defaults": { defaults: JSON.parse('{"http": {"cors": {"__proto__": {"admin": true}}}}') },
    "constructor in overrides": { overrides: { http: { constructor: { prototype: { admin: true } } } } },
    "a section named constructor": { overrides: JSON.parse('{"constructor": {"prototype": {"admin": true}}}') },
  };
  for (const [name, sources] of Object.entries(hostile)) {
    it(`refuses ${name}, and Object.prototype stays clean`, async () => {
      const faults = await faultsOf([http], sources);
      assert.match(faults.join("\n"), /__proto__|constructor/);
      assert.equal(Reflect.get({}, "admin"), undefined);
    });
  }

  it("refuses a variable's JSON that names __proto__", async () => {
    const free = defineSettings("free", z.strictObject({ map: z.record(z.string(), z.unknown()).default({}) }));
    const environment = { PLINTH_FREE_MAP: '{"__proto__": {"admin": true}, "a": {"b": 1}}' };
    assert.deepEqual(await faultsOf([free], { environment }), [
      'free.map: the key "__proto__" is never allowed (PLINTH_FREE_MAP)',
    ]);
    assert.equal(Reflect.get({}, "admin"), undefined);
  });
});
