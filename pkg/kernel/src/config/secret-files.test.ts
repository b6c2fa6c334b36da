import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { loadConfig } from "./load.ts";
import { Secret, secretString } from "./secret.ts";
import { defineSettings } from "./settings.ts";
import type { ConfigSources } from "./snapshot.ts";

const database = defineSettings(
  "database",
  z.strictObject({
    url: secretString("where").optional(),
    keys: z.array(secretString("key")).default([]),
    byName: z.record(z.string(), secretString("key")).default({}),
    users: z.array(z.strictObject({ name: z.string(), password: secretString("p") })).default([]),
    either: z.union([z.number(), z.string().meta({ writeOnly: true })]).optional(),
    named: z.string().meta({ id: "SecretFilesTestSecret", writeOnly: true }).optional(),
    schema: z.string().optional(),
  }),
);

let folder = "";
const at = (name: string): string => join(folder, name);
before(() => {
  folder = mkdtempSync(join(tmpdir(), "plinth-secrets-"));
  const files: Readonly<Record<string, string | Buffer>> = {
    line: "hunter2\n",
    windows: "hunter2\r\n",
    lines: "hunter2\n\n",
    bare: "hunter2",
    bom: "\uFEFFhunter2\n",
    empty: "",
    "empty-line": "\n",
    "not-utf8": Buffer.from([0xff, 0xfe, 0x41]),
    full: "x".repeat(64 * 1024),
    large: "x".repeat(64 * 1024 + 1),
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(at(name), content);
  execFileSync("mkfifo", [at("pipe")]);
  symlinkSync("line", at("link"));
  mkdirSync(at("folder"));
});
after(() => rmSync(folder, { recursive: true }));

async function read(sources: Partial<ConfigSources>): Promise<Record<string, unknown>> {
  return (await loadConfig([database], { environment: {}, ...sources })).get("database") as Record<string, unknown>;
}

async function faultsOf(sources: Partial<ConfigSources>): Promise<readonly string[]> {
  try {
    await read(sources);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.faults.map(({ key, problem, source }) =>
      `${key}: ${problem} (${source})`.replaceAll(`${folder}/`, ""),
    );
  }
  return assert.fail("it was taken");
}

function reveal(value: unknown): unknown {
  return value instanceof Secret ? value.reveal() : value;
}

describe("a secret in a file", () => {
  const contents: readonly (readonly [string, string, string])[] = [
    ["without the line break at its end", "line", "hunter2"],
    ["without one of Windows", "windows", "hunter2"],
    ["with all line breaks but the last", "lines", "hunter2\n"],
    ["as it is without one", "bare", "hunter2"],
    ["without its byte order mark", "bom", "hunter2"],
    ["through a symbolic link", "link", "hunter2"],
    ["of 64 KiB", "full", "x".repeat(64 * 1024)],
  ];
  for (const [name, file, value] of contents) {
    it(`is read ${name}`, async () => {
      const { url } = await read({ environment: { PLINTH_DATABASE_URL: `file:${at(file)}` } });
      assert.equal(reveal(url), value);
    });
  }

  it("is read from every source, also as a URL", async () => {
    const text = `file://${at("line")}`;
    writeFileSync(at("config.yaml"), `database: {url: "${text}"}\n`);
    const sources: readonly Partial<ConfigSources>[] = [
      { defaults: { database: { url: text } } },
      { file: at("config.yaml") },
      { environment: { PLINTH_DATABASE_URL: text } },
      { arguments: ["--database.url", text] },
      { overrides: { database: { url: text } } },
      {
        sources: [{ name: "r", load: () => Promise.resolve({ data: { database: { url: text } }, places: new Map() }) }],
      },
    ];
    for (const source of sources) assert.equal(reveal((await read(source)).url), "hunter2");
  });

  it("is read where the schema says secret: in lists, maps, objects in lists, unions and by reference", async () => {
    const text = `file:${at("line")}`;
    const given = {
      keys: ["plain", text],
      byName: { a: text },
      users: [{ name: text, password: text }],
      either: text,
      named: text,
      schema: text,
    };
    const settings = await read({ overrides: { database: given } });
    assert.deepEqual(JSON.parse(JSON.stringify(settings, (_, value: unknown) => value)), {
      keys: ["***", "***"],
      byName: { a: "***" },
      users: [{ name: text, password: "***" }],
      either: "hunter2",
      named: "hunter2",
      schema: text,
    });
    const [plain, fromFile] = settings.keys as Secret[];
    assert.deepEqual([plain?.reveal(), fromFile?.reveal()], ["plain", "hunter2"]);
    assert.deepEqual(given.keys, ["plain", text]); // nothing of the caller's was changed
  });

  const broken: readonly (readonly [string, string, RegExp])[] = [
    ["is not there", "absent", /absent, cannot be read: ENOENT/],
    ["is a folder", "folder", /folder, cannot be read: it is no regular file/],
    ["is a pipe that nobody writes into", "pipe", /pipe, cannot be read: it is no regular file/],
    ["is no UTF-8", "not-utf8", /not-utf8, cannot be read: .*utf-8/],
    ["is larger than 64 KiB", "large", /large, cannot be read: it has 65537 bytes, at most 65536 are read/],
  ];
  for (const [name, file, pattern] of broken) {
    it(`that ${name} is one fault with key, path and source`, async () => {
      const faults = await faultsOf({ environment: { PLINTH_DATABASE_URL: `file:${at(file)}` } });
      assert.equal(faults.length, 1);
      assert.match(faults[0] ?? "", /^database\.url: the file of this secret, /);
      assert.match(faults[0] ?? "", pattern);
      assert.match(faults[0] ?? "", / \(PLINTH_DATABASE_URL\)$/);
    });
  }

  it("that cannot be read is no second fault of its value", async () => {
    const strict = defineSettings("strict", z.strictObject({ key: secretString("k").refine(() => false, "too weak") }));
    await assert.rejects(loadConfig([strict], { environment: { PLINTH_STRICT_KEY: `file:${at("absent")}` } }), {
      message: /^1 fault in the config:\n {2}strict\.key: the file of this secret, /,
    });
  });

  it("of no name is a fault", async () => {
    assert.match(
      (await faultsOf({ overrides: { database: { url: "file:" } } })).join(),
      /^database\.url: .*ENOENT.* \(override\)$/,
    );
  });

  it("that is empty is a fault of the value, and names the file as well as who named it", async () => {
    for (const file of ["empty", "empty-line"]) {
      assert.deepEqual(await faultsOf({ environment: { PLINTH_DATABASE_URL: `file:${at(file)}` } }), [
        `database.url: Too small: expected string to have >=1 characters, got *** (PLINTH_DATABASE_URL, file ${file})`,
      ]);
    }
  });

  it("that names another file is not followed", async () => {
    writeFileSync(at("chain"), `file:${at("line")}`);
    assert.equal(
      reveal((await read({ overrides: { database: { url: `file:${at("chain")}` } } })).url),
      `file:${at("line")}`,
    );
  });
});
