// `plinth migrate` against a real database, as whoever types it sees it.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { openDatabase, sql } from "@plinth/database";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { until } from "../support/until.ts";

const root = join(import.meta.dirname, "../..");

/** A service that would say so if it ran. */
const main = `
import { coreModule, createApp, defineModule, provider, token } from "@plinth/kernel";
import { database, databaseModule, defineDatabase, provideMigrations, readMigrations, sql } from "@plinth/database";
const reports = defineDatabase("reports");
const up = (tx) => tx.query(sql\`create table totals (id int)\`);
const notes = provider({ provides: token("notes").of(), needs: { database }, create: () => "notes", start: () => console.log("it runs") });
const app = createApp({
  name: "notes",
  modules: [
    coreModule,
    databaseModule,
    reports.module,
    defineModule("notes", [
      provideMigrations(await readMigrations(new URL("./migrations/", import.meta.url))),
      reports.provideMigrations([{ name: "0001_totals", up }]),
      notes,
    ]),
  ],
});
process.exitCode = await app.run();
`;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

describe("plinth migrate", { timeout: 120_000 }, () => {
  let server: TestDatabase;
  let folder: string;
  before(async () => {
    server = await createTestDatabase();
    await mkdir(join(root, ".cache"), { recursive: true });
    folder = await mkdtemp(join(root, ".cache/plinth-migrate-")); // where the packages are found
    await writeFile(join(folder, "main.mjs"), main);
  });
  after(async () => {
    await rm(folder, { recursive: true, force: true });
    await server[Symbol.asyncDispose]();
  });

  function start(line: string, env: Record<string, string> = {}): ChildProcess {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(PLINTH_|NODE_TEST_CONTEXT$)/.test(name));
    const command = ["--conditions=plinth-source", join(root, "cmd/plinth/src/main.ts"), "migrate", ...line.split(" ")];
    return spawn(process.execPath, command, {
      cwd: folder,
      env: {
        ...Object.fromEntries(inherited),
        PLINTH_DATABASE_URL: server.url,
        PLINTH_DATABASE_REPORTS_URL: server.url,
        ...env,
      },
    });
  }
  async function migrate(line: string, env?: Record<string, string>): Promise<Ended> {
    const child = start(line, env);
    const [stdout, stderr, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, "exit")]);
    // log lines are of no interest here
    const told = stderr.split("\n").filter((each) => !each.startsWith("{") && !/^\s*$|^\[|^\d\d:/.test(each));
    return { code, stdout: stdout.replaceAll(/\d+ ms|20\S+Z/g, "…"), stderr: told.join("\n") };
  }
  const write = (name: string, content: string): Promise<void> => writeFile(join(folder, "migrations", name), content);

  it("goes from an empty folder to a schema, and back", async () => {
    const made = await migrate("new create notes");
    assert.deepEqual(made, { code: 0, stdout: "migrations/0001_create_notes.sql\n", stderr: "" });
    assert.equal(await readFile(join(folder, made.stdout.trim()), "utf8"), "-- migrate:up\n\n\n-- migrate:down\n\n");
    await write(
      "0001_create_notes.sql",
      "-- migrate:up\ncreate table note (id int);\n-- migrate:down\ndrop table note;\n",
    );
    assert.equal((await migrate("new --ts add title")).stdout, "migrations/0002_add_title.ts\n");

    const rehearsed = await migrate("up main.mjs --dry-run --database main");
    assert.deepEqual(
      [rehearsed.code, rehearsed.stdout],
      [
        0,
        "main, schema notes:\n  would apply  0001_create_notes  …\n      create table note (id int);\n  would apply  0002_add_title  …\n      select 1;\n",
      ],
      rehearsed.stderr,
    );
    const { code, stdout } = await migrate("up main.mjs");
    assert.deepEqual(
      [code, stdout],
      [
        0,
        "main, schema notes:\n  applied  0001_create_notes  …\n  applied  0002_add_title  …\n\nreports, schema notes_reports:\n  applied  0001_totals  …\n",
      ],
    );

    const back = await migrate("down main.mjs --database main --json");
    const { app, database, schema, migrations } = JSON.parse(back.stdout.replaceAll("…", ""));
    assert.deepEqual([app, database, schema, migrations[0].name], ["notes", "main", "notes", "0002_add_title"]);
    const status = await migrate("status main.mjs --database main");
    assert.deepEqual(
      [status.code, status.stdout],
      [0, "main, schema notes:\n  applied       0001_create_notes  …  …\n  pending       0002_add_title\n"],
    );
    for (const { stderr } of [rehearsed, back, status]) assert.doesNotMatch(stderr, /it runs/);
  });

  it("ends with 1, and says what stands against it", async () => {
    const [several, away] = await Promise.all([
      migrate("down main.mjs"),
      migrate("status main.mjs --database main", { PLINTH_DATABASE_URL: "postgres://u:hunter2@127.0.0.1:1/x" }),
    ]);
    assert.deepEqual([several.code, several.stdout], [1, ""]);
    assert.equal(several.stderr, "notes: there are several to migrate, main, reports; name the one that is meant");
    await write("0001_create_notes.sql", "-- migrate:up\ncreate table note (id bigint);\n");
    const [drifted, status] = await Promise.all([migrate("up main.mjs --database=main"), migrate("status main.mjs")]);
    assert.deepEqual([drifted.code, drifted.stdout], [1, ""]);
    assert.match(drifted.stderr, /0001_create_notes was edited after it was applied/);
    assert.deepEqual([status.code, status.stderr], [1, "notes: 0001_create_notes is drifted"]);
    assert.match(status.stdout, /drifted {7}0001_create_notes/);
    assert.deepEqual([away.code, away.stdout], [1, ""]);
    assert.match(away.stderr, /ECONNREFUSED/);
    assert.doesNotMatch(away.stderr, /hunter2/);
  });

  it("takes back what it is at when it is interrupted", async () => {
    for (const file of await readdir(join(folder, "migrations"))) await rm(join(folder, "migrations", file));
    const hanging = "-- migrate:up\ncreate table half (id int); select pg_sleep(600);\n";
    await write("0001_hangs.sql", hanging);
    const env = { PLINTH_DATABASE_SCHEMA: "interrupted" };
    const db = openDatabase({ url: server.url, schema: "interrupted", maxConnections: 1 });
    const child = start("up main.mjs --database main", env);
    const told = text(child.stderr!);
    await until(
      async () => {
        const { rows } = await db
          .query(sql`select 1 from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()`)
          .catch(() => ({ rows: [] })); // the schema is not there yet
        return rows.length > 0;
      },
      "the migration runs",
      30_000,
    );
    child.kill("SIGINT");
    const [code] = await once(child, "exit");
    assert.equal(code, 130);
    assert.match(await told, /0001_hangs of schema "interrupted" failed, and nothing of it was kept: .*cancelled/);
    await assert.rejects(db.query(sql`select 1 from half`), { sqlState: "42P01" });
    await db.close();
  });
});
