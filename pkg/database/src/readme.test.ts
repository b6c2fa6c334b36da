import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { after, before, describe, it } from "node:test";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";

let server: EmbeddedPostgres;
before(async () => void (server = await startTestPostgres()));
after(() => server.stop());

it("the README's example runs as it stands", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const [, example] = /```ts\n([^]*?)```/.exec(readme) ?? [];
  const use = `
    await app.start();
    const store = app.get(notes);
    const first = await store.add("one");
    const second = await store.add("two");
    await store.move(first.id, second.id);
    await app.stop();`;
  await using db = await testDatabase({ url: server.url });
  await promisify(execFile)(
    process.execPath,
    ["--conditions=plinth-source", "--input-type=module-typescript", "-e", `${example}${use}`],
    {
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      env: { ...process.env, PLINTH_DATABASE_URL: server.url, PLINTH_DATABASE_SCHEMA: db.schema },
    },
  );
  assert.deepEqual((await db.query(sql`select id, text from notes`)).rows, [{ id: 2, text: "one" }]);
});

describe("the README's tables", async () => {
  const read = (path: string) => readFile(new URL(path, import.meta.url), "utf8");
  const readme = await read("../README.md");
  const sectionOf = (heading: string): string => readme.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  /** By what stands in the first column of a table, its rows. */
  const rowsOf = (text: string): ReadonlyMap<string, string> =>
    new Map(
      Array.from(text.matchAll(/^\| (`[^|]*`) \|(.*)\|$/gm), ([, names = "", rest = ""]) => ({ names, rest })).flatMap(
        ({ names, rest }) => Array.from(names.matchAll(/`(\w+)`/g), ([, name = ""]) => [name, rest] as const),
      ),
    );

  it("have every setting, with its default", async () => {
    const rows = rowsOf(sectionOf("Settings"));
    const [, config = ""] = (await read("../../../docs/config.md")).split("\n## database\n");
    const settings = Array.from(
      (config.split("\n## ")[0] ?? "").matchAll(/^\| `(\w+)[^|]*\|[^|]*\|[^|]*\|[^|]*\| (?:`([^`]*)`)?/gm),
      ([, name = "", value]) => ({ name, value }),
    );
    const names = new Set(settings.map(({ name }) => name));
    assert.deepEqual([...rows.keys()].toSorted(compare), [...names].toSorted(compare));
    for (const { name, value } of settings.filter((setting) => setting.value !== undefined)) {
      const shown = rows
        .get(name)
        ?.split("|")[0]
        ?.replaceAll(/(?<=\d)_/g, "");
      assert.equal(shown?.trim(), `\`${value?.replaceAll('"', "")}\``, name);
    }
  });

  it("have every option that is no setting, of a database and of a transaction", async () => {
    const optionsOf = async (file: string, name: string): Promise<readonly string[]> => {
      const [, body = ""] =
        new RegExp(`^export interface ${name}.*?\\{\\n(.*?)^\\}`, "ms").exec(await read(file)) ?? [];
      return Array.from(body.matchAll(/^ {2}readonly (\w+)/gm), ([, option = ""]) => option);
    };
    const settings = rowsOf(sectionOf("Settings"));
    const options = await optionsOf("./options.ts", "DatabaseOptions");
    const expected = new Set([
      ...options.filter((option) => !settings.has(option)),
      ...(await optionsOf("./transaction.ts", "TransactionOptions")),
    ]);
    assert.ok(expected.size > 10);
    assert.deepEqual([...rowsOf(sectionOf("By hand")).keys()].toSorted(compare), [...expected].toSorted(compare));
  });

  it("have every code, with the statuses that docs/errors.md says", async () => {
    const statusesOf = (row: string): readonly string[] =>
      Array.from((row.split("|")[0] ?? "").matchAll(/`(\w+)`/g), ([, status = ""]) => status).toSorted(compare);
    const told = (text: string) =>
      [...rowsOf(text)]
        .filter(([code]) => code.startsWith("ERR_DATABASE_"))
        .map(([code, row]) => `${code} ${statusesOf(row).join(", ")}`)
        .toSorted(compare);
    assert.deepEqual(told(sectionOf("Errors")), told(await read("../../../docs/errors.md")));
  });

  it("have every metric, with its labels", async () => {
    const section = sectionOf("What it shows");
    const own = rowsOf(section);
    const known = [...rowsOf(await read("../../../docs/metrics.md"))].filter(([name]) => name.startsWith("database_"));
    const named = new Set(section.match(/\bdatabase_\w+/g));
    assert.deepEqual([...named].toSorted(compare), known.map(([name]) => name).toSorted(compare));
    for (const [name, row] of known) {
      const labels = Array.from((row.split("|")[2] ?? "").matchAll(/`(\w+)`/g), ([, label = ""]) => label);
      for (const label of labels.filter((each) => each !== "database" && own.has(name)))
        assert.ok(own.get(name)?.split("|")[0]?.includes(`\`${label}\``), `${name}: ${label}`);
    }
  });
});

function compare(a: string, b: string): number {
  return a.localeCompare(b);
}
