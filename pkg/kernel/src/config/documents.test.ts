import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { type ConfigDocument, parseConfig } from "./file.ts";
import { loadConfig } from "./load.ts";
import { defineSettings } from "./settings.ts";
import type { ConfigSource } from "./source.ts";
import type { ConfigSources } from "./snapshot.ts";

const http = defineSettings("http", z.strictObject({ port: z.int().default(80), host: z.string().default("a") }));

let folder = "";
const at = (name: string): string => join(folder, name);
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-documents-"));
  const files: Readonly<Record<string, string>> = {
    "config.yaml": "http: {port: 1, host: base}\n",
    "config.live.yaml": "http: {port: 2}\n",
    "config.broken.yaml": "http: [\n",
    "app.prod.json": '{"$schema": "./config.schema.json", "http": {"port": 3}}',
    "app.prod.eu.json": '{"http": {"port": 4}}',
    plain: "http: {port: 5}\n",
    "plain.live": "http: {port: 6}\n",
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(at(name), text);
});
after(() => rmSync(folder, { recursive: true }));

type Sources = Partial<ConfigSources>;

async function portOf(sources: Sources): Promise<unknown> {
  return Reflect.get((await loadConfig([http], { environment: {}, ...sources })).get("http") as object, "port");
}

async function failureOf(
  sources: Sources,
): Promise<{ readonly code: string; readonly lines: readonly string[]; readonly cause: unknown }> {
  try {
    await portOf(sources);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const lines = error.faults.map(({ key, problem, source }) => `${key}: ${problem} (${source})`);
    return { code: error.code, lines: lines.map((line) => line.replaceAll(`${folder}/`, "")), cause: error.cause };
  }
  return assert.fail("it was taken");
}

function sourceOf(name: string, load: () => ConfigDocument | string): ConfigSource {
  return {
    name,
    async load() {
      const loaded = load();
      return typeof loaded === "string" ? parseConfig(loaded, name) : loaded;
    },
  };
}

describe("the sources of the config", () => {
  it("win over each other in their order", async () => {
    const layers: readonly Sources[] = [
      { defaults: { http: { port: 1_000 } } },
      { file: at("config.yaml") },
      { profile: "live" },
      { sources: [sourceOf("one", () => "http: {port: 11}")] },
      { sources: [sourceOf("one", () => "http: {port: 11}"), sourceOf("two", () => "http: {port: 12}")] },
      { environment: { PLINTH_HTTP_PORT: "13" } },
      { arguments: ["--http.port=14"] },
      { overrides: { http: { port: 15 } } },
    ];
    const sources: Sources = {};
    const ports: unknown[] = [];
    for (const layer of layers) ports.push(await portOf(Object.assign(sources, layer)));
    assert.deepEqual(ports, [1_000, 1, 2, 11, 12, 13, 14, 15]);
  });

  it("let an option win over an argument over a variable for the file and the profile", async () => {
    const environment = { PLINTH_CONFIG: at("config.yaml"), PLINTH_PROFILE: "live" };
    assert.equal(await portOf({ environment }), 2);
    assert.equal(await portOf({ environment, arguments: ["--config", at("plain")] }), 6);
    assert.equal(await portOf({ environment, arguments: ["--config", at("app.prod.json"), "--profile", "eu"] }), 4);
    const words = ["--profile=eu", "--config", at("app.prod.json")];
    assert.equal(await portOf({ environment, profile: "live", file: at("plain"), arguments: words }), 6);
  });

  it("keep from the file what the profile does not say", async () => {
    const config = await loadConfig([http], { environment: {}, file: at("config.yaml"), profile: "live" });
    assert.deepEqual(config.get("http"), { port: 2, host: "base" });
  });

  it("may name their schema to an editor", async () => assert.equal(await portOf({ file: at("app.prod.json") }), 3));
});

describe("a file that is not there", () => {
  const lineOf = async (sources: Sources): Promise<string> => (await failureOf(sources)).lines.join("\n");
  const absent = (name: string): string => `${name}: cannot be read: ENOENT: no such file or directory, open '${name}'`;

  it("is told of with who named it", async () => {
    const environment = { PLINTH_CONFIG: at("absent.yaml") };
    assert.equal(await lineOf({ environment }), `${absent("absent.yaml")} (PLINTH_CONFIG)`);
    const words = ["--config", at("gone.yaml")];
    assert.equal(await lineOf({ environment, arguments: words }), `${absent("gone.yaml")} (--config)`);
    assert.equal(
      await lineOf({ environment, arguments: words, file: at("none.yaml") }),
      `${absent("none.yaml")} (config.file)`,
    );
  });

  it("is told of with who named its profile", async () => {
    const given = { file: at("config.yaml"), environment: { PLINTH_PROFILE: "stage" } };
    assert.equal(await lineOf(given), `${absent("config.stage.yaml")} (PLINTH_PROFILE)`);
    const words = ["--profile=eu"];
    assert.equal(await lineOf({ ...given, arguments: words }), `${absent("config.eu.yaml")} (--profile)`);
    assert.equal(
      await lineOf({ ...given, arguments: words, profile: "us" }),
      `${absent("config.us.yaml")} (config.profile)`,
    );
  });

  it("is told of once, with neither a cause nor its stack", async () => {
    const { code, cause } = await failureOf({ file: at("absent.yaml") });
    assert.deepEqual([code, cause], ["ERR_CONFIG_FILE", undefined]);
  });
});

describe("a profile", () => {
  it("whose file is not there is a fault that names it", async () => {
    const { code, lines } = await failureOf({ file: at("config.yaml"), profile: "stage" });
    assert.equal(code, "ERR_CONFIG_FILE");
    assert.match(lines.join("\n"), /^config\.stage\.yaml: cannot be read: ENOENT.* \(config\.profile\)$/);
  });

  it("without a file that it stands beside is a fault", async () => {
    assert.deepEqual((await failureOf({ environment: { PLINTH_PROFILE: "live" } })).lines, [
      'profile: stands beside a config file, and none is named; set PLINTH_CONFIG or --config, got "live" (PLINTH_PROFILE)',
    ]);
  });

  for (const profile of ["../secrets", "a/b", ".", "a b", "\u001B[2J"]) {
    it(`of the name ${JSON.stringify(profile)} is refused`, async () => {
      const { lines } = await failureOf({ file: at("config.yaml"), profile });
      assert.match(
        lines.join("\n"),
        /^profile: expected letters, digits, - and _, got "\P{Cc}+" \(config\.profile\)$/u,
      );
    });
  }
});

describe("a remote source", () => {
  it("gives its places to the faults", async () => {
    const source = sourceOf("consul:config/notes", () => "http:\n  port: x\n");
    assert.deepEqual((await failureOf({ sources: [source] })).lines, [
      'http.port: expected number, received string, got "x" (consul:config/notes:2)',
    ]);
  });

  it("that cannot be read is a fault with its name, its message and the error as cause", async () => {
    const error = new Error("connection refused");
    const source = sourceOf("remote", () => {
      throw error;
    });
    assert.deepEqual(await failureOf({ sources: [source] }), {
      code: "ERR_CONFIG_SOURCE",
      lines: ["remote: cannot be read: connection refused (config source)"],
      cause: error,
    });
  });

  for (const [name, document] of Object.entries({
    nothing: undefined,
    text: "x",
    "no places": { data: {} },
    "a list": { data: [], places: new Map() },
  })) {
    it(`that gives ${name} is a fault`, async () => {
      // what a source in JavaScript may do
      const source = { name: "remote", load: () => Promise.resolve(document as unknown as ConfigDocument) };
      assert.equal((await failureOf({ sources: [source] })).code, "ERR_CONFIG_SOURCE");
    });
  }

  it("is read at the same time as the others", async () => {
    const both = Promise.withResolvers<ConfigDocument>();
    let asked = 0;
    const source = (name: string): ConfigSource => ({
      name,
      load() {
        asked++;
        if (asked === 2) both.resolve({ data: {}, places: new Map() });
        return both.promise;
      },
    });
    assert.equal(await portOf({ sources: [source("one"), source("two")] }), 80);
  });
});

describe("the faults of documents", () => {
  it("stand in one report with all others, but not with what is missing because of them", async () => {
    const needed = defineSettings("needed", z.strictObject({ name: z.string() }));
    const failing = sourceOf("remote", () => "a: 1\na: 2\n");
    const given = loadConfig([http, needed], {
      file: at("config.yaml"),
      profile: "broken",
      sources: [failing],
      environment: { PLINTH_HTTP_PROT: "1", PLINTH_HTTP_PORT: "x" },
      arguments: ["--x.y=1", "--config"],
    });
    await assert.rejects(given, (error: ConfigError) => {
      assert.equal(error.code, "ERR_CONFIG_FILE");
      assert.deepEqual(
        error.faults.map(({ source }) => source.replace(`${folder}/`, "").replace(/broken\.yaml:\d/, "broken.yaml")),
        ["config.broken.yaml", "remote:2", "PLINTH_HTTP_PORT", "PLINTH_HTTP_PROT", "--config", "--x.y"],
      );
      return true;
    });
  });
});
