import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { migrationFiles, readMigrations } from "./read-migrations.ts";

describe("readMigrations", () => {
  let folder: string;
  beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "plinth-migrations-"))));
  afterEach(() => rm(folder, { recursive: true, force: true }));
  const write = (name: string, text = "-- migrate:up\nselect 1"): Promise<void> => writeFile(join(folder, name), text);

  it("reads SQL files and modules in the order of their names, and passes over what is neither", async () => {
    await write(
      "0002_fill.mjs",
      "export const up = async () => {}; export const down = up; export const checksum = 'v1';",
    );
    await write("0001_create.sql");
    await write("0003_index.mjs", "export const transaction = false; export const up = async () => {};");
    for (const name of ["README.md", "helpers.ts", "0002_fill.d.mts", "0002_fill.mjs.map", "0002_fill.test.ts"]) {
      await write(name, "not to be read");
    }
    for (const place of [folder, pathToFileURL(`${folder}/`)]) {
      const migrations = await readMigrations(place);
      assert.deepEqual(
        migrations.map(({ name, transaction, checksum, down }) => [
          name,
          transaction,
          checksum?.slice(0, 6),
          typeof down,
        ]),
        [
          ["0001_create", true, "sha256", "undefined"],
          ["0002_fill", undefined, "v1", "function"],
          ["0003_index", false, undefined, "undefined"],
        ],
      );
    }
  });

  it("reads none in an empty folder, and says which folder there is not", async () => {
    assert.deepEqual(await readMigrations(folder), []);
    await assert.rejects(readMigrations(join(folder, "none")), { code: "ENOENT", message: /none/ });
  });

  it("names a file whose content is no migration", async () => {
    await write("0001_empty.sql", "select 1");
    await assert.rejects(readMigrations(folder), {
      code: "ERR_OPTION_RANGE",
      message: /^migration 0001_empty: line 1: the text must begin with "-- migrate:up"$/,
    });
    await rm(join(folder, "0001_empty.sql"));
    await write("0001_module.mjs", "export default async () => {};");
    await assert.rejects(readMigrations(folder), {
      code: "ERR_OPTION_RANGE",
      message: "migration 0001_module: its module must export up, a function: up: expected a function",
    });
  });

  it("refuses two files of one name", async () => {
    await write("0001_a.sql");
    await write("0001_a.mjs", "export const up = async () => {};");
    await assert.rejects(readMigrations(folder), { code: "ERR_OPTION_RANGE", message: /"0001_a" is given twice/ });
  });
});

describe("migrationFiles", () => {
  const refused: readonly [readonly string[], RegExp][] = [
    [["1-create.sql"], /db\/1-create\.sql is no name of a migration; expected one like 0001_create_notes\.sql/],
    [["create.sql"], /db\/create\.sql is no name/],
    [["0001_créer.sql"], /is no name/],
    [["0001.ts"], /is no name/],
    [
      ["9_a.sql", "10_b.sql"],
      /10_b\.sql sorts before 9_a\.sql in db, with the greater number; give all numbers as many digits/,
    ],
  ];
  for (const [names, message] of refused) {
    it(`refuses ${names.join(" and ")}`, () => {
      assert.throws(() => migrationFiles(names, "db"), { code: "ERR_OPTION_RANGE", message });
    });
  }

  it("takes times in place of numbers, also after numbers", () => {
    const names = ["20260102030405_b.sql", "0001_a.ts", "0001_b.js"];
    assert.deepEqual(
      migrationFiles(names, "db").map(({ name }) => name),
      ["0001_a", "0001_b", "20260102030405_b"],
    );
  });
});
