import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { openDatabase } from "../database.ts";
import type { EmbeddedPostgres } from "../embedded/index.ts";
import { type Migration, sql } from "../index.ts";
import { startTestPostgres, testDatabase } from "../testing/index.ts";
import { assertThrown, until } from "../testing/until.ts";

const fail = (): never => assert.fail("it should have been refused");

const createNotes: Migration = {
  name: "0001_create_notes",
  up: (tx) => tx.query(sql`create table notes (id int primary key)`),
};
const fillNotes: Migration = {
  name: "0002_fill_notes",
  up: (tx) => tx.query(sql`insert into notes values (1)`),
};

/** What a second process runs: it prints what it applied. */
const program = `
import { openDatabase, sql } from ${JSON.stringify(import.meta.resolve("../index.ts"))};
const step = (name, statement) => ({ name, up: async (tx) => void (await tx.query(statement)) });
const db = openDatabase({ url: process.argv[1], schema: process.argv[2], migrateOnConnect: false, migrations: [
  step("0001_create_notes", sql\`create table notes (id int primary key)\`),
  step("0002_fill_notes", sql\`insert into notes select 1 from pg_sleep(0.1)\`),
] });
await db.connect();
process.stdout.write("ready");
process.stdin.once("data", async () => {
  process.stdout.write(JSON.stringify(await db.migrate()));
  await db.close();
  process.exit(0);
});
`;

describe("migrations", { timeout: 30_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());
  const open = (migrations: readonly Migration[], options = {}) =>
    testDatabase({ url: server.url, migrations, ...options });

  it("run at connect, sorted by name, once, in the service's schema", async () => {
    await using db = await open([fillNotes, createNotes]);
    assert.deepEqual((await db.query(sql`select id from notes`)).rows, [{ id: 1 }]);
    const { rows } = await db.query(
      sql<{ name: string }>`select name from ${sql.table(`${db.schema}.plinth_migrations`)} order by name`,
    );
    assert.deepEqual(
      rows.map(({ name }) => name),
      ["0001_create_notes", "0002_fill_notes"],
    );
    assert.deepEqual(await db.migrate(), []);
  });

  it("run later when connect is told not to run them", async () => {
    await using db = await open([createNotes, fillNotes], { migrateOnConnect: false });
    await assert.rejects(db.query(sql`select 1 from notes`), { sqlState: "42P01" });
    assert.deepEqual(await db.migrate(), ["0001_create_notes", "0002_fill_notes"]);
  });

  it("that fail are named, fail the connect, and leave nothing of their run", async () => {
    await using admin = await open([]);
    const broken: Migration = { name: "0002_broken", up: (tx) => tx.query(sql`select nothing`) };
    const migrations = [createNotes, broken];
    const db = openDatabase({ url: server.url, schema: admin.schema, migrations });
    await assert.rejects(db.connect(), {
      code: "ERR_DATABASE_MIGRATION",
      status: "failed_precondition",
      message:
        /migration 0002_broken of schema "test_\w+" failed, and nothing of this run was kept: .*42703.*"nothing" does not exist/,
    });
    await assert.rejects(admin.query(sql`select 1 from notes`), { sqlState: "42P01" });
    await db.close();
  });

  it("that throw an error of their own are named as well", async () => {
    await assert.rejects(open([{ name: "0001_own", up: () => Promise.reject(new Error("no disk")) }]), {
      code: "ERR_DATABASE_MIGRATION",
      message: /migration 0001_own .*: no disk/,
    });
  });

  it("that were applied and have gone are refused by name", async () => {
    await using admin = await open([createNotes]);
    const db = openDatabase({ url: server.url, schema: admin.schema, migrations: [fillNotes] });
    await assert.rejects(db.connect(), { code: "ERR_DATABASE_MIGRATION", message: /0001_create_notes is missing/ });
    await db.close();
  });

  it("run once when several instances of one process start together", async () => {
    await using admin = await open([]);
    const all = Array.from({ length: 4 }, () =>
      openDatabase({
        url: server.url,
        schema: admin.schema,
        migrations: [createNotes, fillNotes],
        migrateOnConnect: false,
      }),
    );
    const applied = await Promise.all(all.map((db) => db.migrate()));
    assert.deepEqual(applied.flat().toSorted(), ["0001_create_notes", "0002_fill_notes"]);
    await Promise.all(all.map((db) => db.close()));
  });

  it("look at no schema but their own, such as one that is dropped meanwhile", async () => {
    await using admin = await open([]);
    const over = new AbortController();
    const comeAndGo = async (name: string): Promise<void> => {
      while (!over.signal.aborted) {
        await admin.query(sql`create schema ${sql.id(name)}`);
        await admin.query(sql`create table ${sql.id(name, "passing")} (id serial primary key, other serial)`);
        await admin.query(sql`drop schema ${sql.id(name)} cascade`);
      }
    };
    const others = [1, 2, 3].map((n) => comeAndGo(`${admin.schema}_${n}`));
    const options = { url: server.url, schema: admin.schema, migrations: [createNotes], migrateOnConnect: false };
    try {
      for (let run = 0; run < 40; run++) {
        const db = openDatabase(options);
        await db.migrate();
        await db.close();
      }
    } finally {
      over.abort();
      await Promise.all(others);
    }
  });

  it("are not among the tables that kysely finds, nor are those of other schemas", async () => {
    const create: Migration = {
      name: "0001_create",
      up: (tx) => tx.query(sql`create table notes (id serial primary key, text varchar(9), at timestamptz not null)`),
    };
    await using _ = await open([createNotes]);
    await using db = await open([create]);
    await db.query(sql`comment on column notes.text is 'what it says'`);
    const { schema } = db;
    const column = { dataTypeSchema: "pg_catalog", isAutoIncrementing: false, hasDefaultValue: false };
    assert.deepEqual(await db.kysely.introspection.getTables(), [
      {
        name: "notes",
        schema,
        isView: false,
        isForeign: false,
        columns: [
          {
            ...column,
            name: "id",
            dataType: "int4",
            isNullable: false,
            isAutoIncrementing: true,
            hasDefaultValue: true,
          },
          { ...column, name: "text", dataType: "varchar", isNullable: true, comment: "what it says" },
          { ...column, name: "at", dataType: "timestamptz", isNullable: false },
        ],
      },
    ]);
    const all = await db.kysely.introspection.getTables({ withInternalKyselyTables: true });
    assert.deepEqual(
      all.map(({ name }) => name),
      ["notes", "plinth_migrations", "plinth_migrations_lock"],
    );
  });

  it("run once when two processes start together", async () => {
    await using admin = await open([]);
    const children = [1, 2].map(() =>
      spawn(
        process.execPath,
        ["--conditions=plinth-source", "--input-type=module", "-e", program, server.url, admin.schema],
        { stdio: ["pipe", "pipe", "inherit"] },
      ),
    );
    await Promise.all(children.map((child) => once(child.stdout, "data")));
    const outputs = children.map(async (child) => {
      const [text] = await once(child.stdout, "data");
      return JSON.parse(String(text)) as string[];
    });
    const ends = children.map((child) => once(child, "exit"));
    for (const child of children) child.stdin.write("go");
    const applied = (await Promise.all(outputs)).toSorted((a, b) => a.length - b.length);
    assert.deepEqual(applied, [[], ["0001_create_notes", "0002_fill_notes"]]);
    assert.deepEqual(await Promise.all(ends), [
      [0, null],
      [0, null],
    ]);
    assert.equal((await admin.query(sql`select 1 from notes`)).rows.length, 1);
  });

  it("wait for the lock beyond the limit of a statement, and stop waiting when told", async () => {
    await using admin = await open([]);
    const db = openDatabase({
      url: server.url,
      schema: admin.schema,
      migrations: [createNotes],
      statementTimeoutMs: 20,
      migrateOnConnect: false,
    });
    const waits = async (): Promise<boolean> => {
      const { rows } = await admin.query(
        sql`select 1 from pg_stat_activity where wait_event = 'advisory' and application_name = ${`plinth:${admin.schema}`} and now() - query_start > interval '30 ms'`,
      );
      return rows.length > 0;
    };
    await admin.transaction(async (tx) => {
      await tx.query(sql`select pg_advisory_xact_lock(3853314791062309107)`); // the one that kysely's migrator takes
      const controller = new AbortController();
      const stopped = db.migrate({ signal: controller.signal }).then(fail, (error: unknown) => error);
      await until(waits);
      controller.abort();
      assertThrown(await stopped, { code: "ERR_DATABASE_MIGRATION", message: /cancelled/ });
    });
    assert.deepEqual(await db.migrate(), ["0001_create_notes"]);
    await db.close();
  });
});
