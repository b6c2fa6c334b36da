import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { createLogger } from "@plinth/kernel";
import { MemoryLog } from "@plinth/kernel/testing";
import { type Database, openDatabase } from "../database.ts";
import type { EmbeddedPostgres } from "../embedded/index.ts";
import { type DatabaseOptions, type Migration, type MigrationStep, type Queries, sql } from "../index.ts";
import { startTestPostgres, testDatabase } from "../testing/index.ts";
import { assertThrown, until } from "../testing/until.ts";
import { parseSqlMigration } from "./sql-file.ts";

const fail = (): never => assert.fail("it should have been refused");
const namesOf = (steps: readonly { readonly name: string }[]): readonly string[] => steps.map(({ name }) => name);

const createNotes: Migration = {
  name: "0001_create_notes",
  up: (tx) => tx.query(sql`create table notes (id int primary key)`),
  down: (tx) => tx.query(sql`drop table notes`),
};
const fillNotes: Migration = {
  name: "0002_fill_notes",
  up: (tx) => tx.query(sql`insert into notes values (${1})`),
  down: (tx) => tx.query(sql`delete from notes`),
};
const indexNotes = parseSqlMigration(
  "0003_index_notes",
  "-- migrate:up transaction:false\ncreate index concurrently notes_up on notes (id);\ncreate index concurrently notes_down on notes (id desc);\n-- migrate:down transaction:false\ndrop index concurrently notes_up; drop index concurrently notes_down",
);

/** What a second process runs, told what by its input: it prints what it applied. */
const program = `
import { openDatabase, sql } from ${JSON.stringify(import.meta.resolve("../index.ts"))};
const step = (name, statement) => ({ name, up: async (tx) => void (await tx.query(statement)) });
const hang = () => new Promise((_, reject) => setTimeout(reject, 60_000));
const create = step("0001_create_notes", sql\`create table notes (id int primary key)\`);
const sets = {
  both: [create, step("0002_fill_notes", sql\`insert into notes select 1 from pg_sleep(0.05)\`)],
  "hangs inside": [create, { name: "0002_hangs", up: async (tx) => {
    await tx.query(sql\`create table half (id int)\`);
    process.stdout.write("half way");
    await hang();
  } }],
  "hangs outside": [create, { name: "0002_hangs", transaction: false, up: async (db) => {
    await db.query(sql\`create table half (id int)\`);
    process.stdout.write("half way");
    await hang();
  } }],
};
const [url, schema, which] = process.argv.slice(1);
const db = openDatabase({ url, schema, migrateOnConnect: false, migrations: sets[which] });
await db.connect();
process.stdout.write("ready");
process.stdin.once("data", async () => {
  process.stdout.write(JSON.stringify((await db.migrate()).map(({ name }) => name)));
  await db.close();
  process.exit(0);
});
`;

describe("migrations", { timeout: 60_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());
  const open = (migrations: readonly Migration[], options = {}) =>
    testDatabase({ url: server.url, migrations, ...options });
  /** Another version of the service on the same schema. */
  const other = ({ schema }: Database, migrations: readonly Migration[], options: Partial<DatabaseOptions> = {}) => {
    const db = openDatabase({ url: server.url, schema, migrations, migrateOnConnect: false, ...options });
    return Object.assign(db, { [Symbol.asyncDispose]: () => db.close() });
  };
  const tableOf = ({ schema }: Database) => sql.table(`${schema}.plinth_migrations`);
  const appliedIn = async (db: Database): Promise<readonly string[]> =>
    namesOf((await db.query(sql<{ name: string }>`select name from ${tableOf(db)} order by name`)).rows);
  const startInProcess = async (schema: string, which: string) => {
    const args = ["--conditions=plinth-source", "--input-type=module", "-e", program, server.url, schema, which];
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    await once(child.stdout, "data");
    return child;
  };
  /** Sees to it that the lock of `db`'s schema is held until `fn` is over. */
  const whileMigrating = async (db: Database, fn: () => Promise<void>): Promise<void> => {
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const up = async (): Promise<void> => {
      begun.resolve();
      await gate.promise;
    };
    await using busy = other(db, [{ name: "0000_busy", up }]);
    const run = busy.migrate();
    await begun.promise;
    try {
      await fn();
    } finally {
      gate.resolve();
      await run;
    }
  };

  it("run at connect, sorted by name, once, in the service's schema", async () => {
    await using db = await open([fillNotes, createNotes]);
    assert.deepEqual((await db.query(sql`select id from notes`)).rows, [{ id: 1 }]);
    assert.deepEqual(await appliedIn(db), ["0001_create_notes", "0002_fill_notes"]);
    assert.deepEqual(await db.migrate(), []);
  });

  it("run later when connect is told not to run them, and no further than told", async () => {
    await using db = await open([createNotes, fillNotes], { migrateOnConnect: false });
    await assert.rejects(db.query(sql`select 1 from notes`), { sqlState: "42P01" });
    assert.deepEqual(namesOf(await db.migrate({ to: "0001_create_notes" })), ["0001_create_notes"]);
    const [step] = await db.migrate();
    assert.partialDeepStrictEqual(step, { name: "0002_fill_notes", direction: "up" });
    assert.ok((step?.tookMs ?? -1) >= 0);
    await assert.rejects(db.migrate({ to: "0009_nowhere" }), {
      code: "ERR_OPTION_RANGE",
      message: /^to: there is no migration "0009_nowhere"; the last are 0001_create_notes, 0002_fill_notes$/,
    });
  });

  it("each stand or fall alone: one that fails is named, and nothing of it is left", async () => {
    await using admin = await open([]);
    const broken: Migration = {
      name: "0002_broken",
      up: async (tx) => {
        await tx.query(sql`create table half (id int)`);
        await tx.query(sql`select nothing`);
      },
    };
    await using db = other(admin, [createNotes, broken, { ...fillNotes, name: "0003_fill_notes" }]);
    await assert.rejects(db.migrate(), {
      code: "ERR_DATABASE_MIGRATION",
      status: "failed_precondition",
      message:
        /^migration 0002_broken of schema "test_\w+" failed, and nothing of it was kept; before it 0001_create_notes went well, and stays: .*42703.*"nothing" does not exist/,
    });
    assert.deepEqual((await admin.query(sql`select 1 from notes`)).rows, []);
    await assert.rejects(admin.query(sql`select 1 from half`), { sqlState: "42P01" });
    assert.deepEqual(await appliedIn(admin), ["0001_create_notes"]);
  });

  it("that throw an error of their own are named as well, and fail the connect", async () => {
    await assert.rejects(open([{ name: "0001_own", up: () => Promise.reject(new Error("no disk")) }]), {
      code: "ERR_DATABASE_MIGRATION",
      message: /migration 0001_own .*: no disk/,
    });
  });

  it("are refused by name when they are missing, edited or out of order, and nothing is changed", async () => {
    const before = parseSqlMigration("0002_sql", "-- migrate:up\nselect 1");
    await using admin = await open([createNotes, before, { ...fillNotes, name: "0004_fill" }]);
    const edited = parseSqlMigration("0002_sql", "-- migrate:up\nselect 2");
    const late: Migration = { name: "0003_late", up: fail };
    await using db = other(admin, [edited, late, { ...fillNotes, name: "0004_fill" }]);
    for (const dryRun of [false, true]) {
      await assert.rejects(db.migrate({ dryRun }), {
        code: "ERR_DATABASE_MIGRATION",
        message:
          /^the migrations of schema "\w+" are refused, and nothing was changed: 0001_create_notes is missing: [^;]+; give it back; 0002_sql was edited [^;]+; [^;]+; 0003_late is not applied and comes before 0004_fill, which is; rename it/,
      });
    }
    const states = await db.migrationStatus();
    assert.deepEqual(
      states.map(({ name, status }) => [name, status]),
      [
        ["0001_create_notes", "missing"],
        ["0002_sql", "drifted"],
        ["0003_late", "out_of_order"],
        ["0004_fill", "applied"],
      ],
    );
    assert.equal((await appliedIn(admin)).length, 3);
  });

  it("of a later version do not keep an earlier one from starting, which says so", async () => {
    await using admin = await open([createNotes, fillNotes]);
    const log = new MemoryLog();
    await using old = other(admin, [createNotes], { log: await createLogger({ destination: log }) });
    assert.deepEqual(await old.migrate(), []);
    const [line] = log.withMessage("the schema is newer than this version of the service");
    assert.deepEqual([line?.level, line?.migrations], ["warn", ["0002_fill_notes"]]);
    assert.equal((await old.migrationStatus())[1]?.status, "newer");
    await assert.rejects(old.rollback(), {
      code: "ERR_DATABASE_MIGRATION",
      message: /0002_fill_notes was applied by a later version of the service, which alone can take it back/,
    });
  });

  it("run once when several instances of one process start together", async () => {
    await using admin = await open([]);
    const all = Array.from({ length: 4 }, () => other(admin, [createNotes, fillNotes, indexNotes]));
    const applied = await Promise.all(all.map((db) => db.migrate()));
    assert.deepEqual(namesOf(applied.flat()).toSorted(), ["0001_create_notes", "0002_fill_notes", "0003_index_notes"]);
    await Promise.all(all.map((db) => db.close()));
  });

  it("run once when two processes start together", async () => {
    await using admin = await open([]);
    const children = await Promise.all([1, 2].map(() => startInProcess(admin.schema, "both")));
    const outputs = children.map(({ stdout }) => text(stdout));
    const ends = children.map((child) => once(child, "exit"));
    for (const child of children) child.stdin.write("go");
    const applied = (await Promise.all(outputs)).flatMap((output): unknown => JSON.parse(output));
    assert.deepEqual(applied.map(String).toSorted(), ["0001_create_notes", "0002_fill_notes"]);
    assert.deepEqual(await Promise.all(ends), [
      [0, null],
      [0, null],
    ]);
    assert.equal((await admin.query(sql`select 1 from notes`)).rows.length, 1);
  });

  for (const [where, status, expected] of [
    ["inside", "pending", "0002_hangs"],
    ["outside", "dirty", undefined],
  ] as const) {
    it(`killed half way ${where} of a transaction leave ${status === "dirty" ? "a mark" : "nothing"}, and no lock`, async () => {
      await using admin = await open([]);
      const child = await startInProcess(admin.schema, `hangs ${where}`);
      const half = once(child.stdout, "data");
      child.stdin.write("go");
      await half;
      await using db = other(admin, [createNotes, { name: "0002_hangs", up: async () => {} }]);
      if (where === "outside") assert.equal((await db.migrationStatus())[1]?.status, "running");
      child.kill("SIGKILL");
      await once(child, "exit");
      await until(async () => (await db.migrationStatus())[1]?.status === status);
      if (expected) assert.deepEqual(namesOf(await db.migrate()), [expected]);
      else
        await assert.rejects(db.migrate(), { message: /0002_hangs broke half way at 20.*Z, outside of a transaction/ });
    });
  }

  it("wait for the lock beyond the limit of a statement, say for whom, and stop waiting when told", async () => {
    await using admin = await open([]);
    const log = new MemoryLog();
    await using db = other(admin, [createNotes], {
      statementTimeoutMs: 20,
      log: await createLogger({ destination: log }),
    });
    await whileMigrating(admin, async () => {
      const controller = new AbortController();
      const stopped = db.migrate({ signal: controller.signal }).then(fail, (error: unknown) => error);
      await until(() => log.withMessage("waiting for the migrations of another instance").length > 0);
      controller.abort();
      assertThrown(await stopped, { code: "ERR_DATABASE_CANCELLED" });
    });
    const [line] = log.lines;
    assert.match(String(line?.holder), /^the session with pid \d+ of plinth:test_\w+ is at them since 20\S+Z$/);
  });

  it("do not wait longer than told, and say who holds them up", async () => {
    await using admin = await open([]);
    await using db = other(admin, [createNotes], { migrationLockTimeoutMs: 30 });
    await whileMigrating(admin, async () => {
      await assert.rejects(db.migrate(), {
        code: "ERR_DATABASE_MIGRATION_LOCK",
        status: "unavailable",
        message:
          /^the migrations of schema "\w+" did not begin within 30 ms: the session with pid \d+ of plinth:test_\w+ is at them since \S+Z; .*migrationLockTimeoutMs$/,
      });
    });
  });

  it("do not wait for each other when there is nothing to do", async () => {
    await using admin = await open([createNotes]);
    await using db = other(admin, [createNotes], { migrationLockTimeoutMs: 0 });
    await admin.query(sql`delete from ${tableOf(admin)} where name = '0000_busy'`);
    const begun = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const up = async (): Promise<void> => (begun.resolve(), await gate.promise);
    await using busy = other(admin, [createNotes, { name: "0002_busy", up }]);
    const run = busy.migrate();
    await begun.promise;
    assert.deepEqual(await db.migrate(), []);
    gate.resolve();
    await run;
  });

  it("have no limits of time, but the server looks whether they are still there", async () => {
    await using admin = await open([]);
    const seen: unknown[] = [];
    const look = async (tx: Queries): Promise<void> => {
      const { rows } = await tx.query(sql`
        select current_setting('statement_timeout') as statement, current_setting('lock_timeout') as lock,
          current_setting('idle_in_transaction_session_timeout') as idle, current_schema() as schema,
          current_setting('client_connection_check_interval') as look`);
      seen.push(...rows);
    };
    await using db = other(
      admin,
      [
        { name: "0001_inside", up: look },
        { name: "0002_outside", up: look, transaction: false },
      ],
      { statementTimeoutMs: 20, idleInTransactionTimeoutMs: 20 },
    );
    await db.migrate();
    const none = { statement: "0", lock: "0", idle: "0", schema: admin.schema };
    assert.deepEqual(seen, [
      { ...none, look: "2s" },
      { ...none, look: "0" },
    ]);
  });

  it("without a transaction may create an index while another instance waits for them", async () => {
    await using admin = await open([createNotes]);
    const log = new MemoryLog();
    const waiting = other(admin, [createNotes, indexNotes], { log: await createLogger({ destination: log }) });
    let waiter: Promise<readonly MigrationStep[]> | undefined;
    const slow: Migration = {
      ...indexNotes,
      up: async (db) => {
        waiter = waiting.migrate();
        await until(() => log.withMessage("waiting for the migrations of another instance").length > 0);
        await indexNotes.up(db);
      },
    };
    await using db = other(admin, [createNotes, slow]);
    assert.deepEqual(namesOf(await db.migrate()), ["0003_index_notes"]);
    assert.deepEqual(await waiter, []);
    await waiting.close();
    assert.deepEqual(namesOf(await db.rollback()), ["0003_index_notes"]);
  });

  it("without a transaction that break half way are marked, and refused until somebody has looked", async () => {
    await using admin = await open([createNotes]);
    const up = "-- migrate:up transaction:false\n";
    const broken = parseSqlMigration("0002_broken", `${up}create index concurrently one on notes (id); select nothing`);
    await using db = other(admin, [createNotes, broken]);
    await assert.rejects(db.migrate(), {
      code: "ERR_DATABASE_MIGRATION",
      message:
        /^migration 0002_broken of .* failed, it has no transaction, so that what it did until then has stayed, and it is marked as dirty: .*"nothing" does not exist/,
    });
    assert.equal((await db.migrationStatus())[1]?.status, "dirty");
    const told = await db.migrate().then(fail, (error: Error) => error.message);
    assert.match(told, /0002_broken broke half way at \S+Z, outside of a transaction; look what it has left/);
    await assert.rejects(db.rollback(), { message: /0002_broken broke half way/ });
    await admin.query(sql`drop index one`);
    const [, undo = fail()] = /where you undo it: (delete from .*)$/.exec(told) ?? [];
    await admin.query(sql.raw(undo));
    const mended = parseSqlMigration("0002_broken", `${up}create index concurrently one on notes (id)`);
    await using next = other(admin, [createNotes, mended]);
    assert.deepEqual(namesOf(await next.migrate()), ["0002_broken"]);
  });

  it("without a transaction are refused behind a pooler that keeps no schema, and leave no mark", async () => {
    await using admin = await open([createNotes]);
    await using db = other(admin, [createNotes, indexNotes], { pooler: "transaction" });
    await assert.rejects(db.migrate(), {
      code: "ERR_DATABASE_MIGRATION",
      message: /^migration 0003_index_notes .* and nothing of it was kept: .*with a url past the pooler/,
    });
    assert.equal((await db.migrationStatus())[1]?.status, "pending");
  });

  it("that end their own transaction are refused, and not taken for applied", async () => {
    await using admin = await open([]);
    const up = async (tx: Queries): Promise<void> => {
      await tx.query(sql`create table kept (id int)`);
      await tx.query(sql.raw("commit"));
    };
    await using db = other(admin, [{ name: "0001_commits", up }]);
    await assert.rejects(db.migrate(), { message: /0001_commits .*it has ended the transaction that it ran in/ });
    assert.equal((await db.migrationStatus())[0]?.status, "pending");
  });

  it("are taken back, the last first, one by default, as many as told, or down to one that stays", async () => {
    await using db = await open([createNotes, fillNotes, indexNotes]);
    const [step] = await db.rollback();
    assert.partialDeepStrictEqual(step, { name: "0003_index_notes", direction: "down" });
    assert.deepEqual(namesOf(await db.rollback({ to: "0001_create_notes" })), ["0002_fill_notes"]);
    assert.deepEqual(namesOf(await db.migrate()), ["0002_fill_notes", "0003_index_notes"]);
    assert.deepEqual(namesOf(await db.rollback({ steps: 2 })), ["0003_index_notes", "0002_fill_notes"]);
    assert.deepEqual(namesOf(await db.rollback({ steps: 9 })), ["0001_create_notes"]);
    assert.deepEqual(await db.rollback(), []);
    await assert.rejects(db.query(sql`select 1 from notes`), { sqlState: "42P01" });
    await assert.rejects(db.rollback({ steps: 0 }), { code: "ERR_OPTION_RANGE", message: /^steps / });
    await assert.rejects(db.rollback({ to: "0001_create_notes" }), { message: /0001_create_notes is not applied/ });
  });

  it("are not taken back when one on the way has no way down, or fails on it", async () => {
    const oneWay: Migration = { name: "0002_one_way", up: async () => {} };
    await using db = await open([createNotes, oneWay, { ...fillNotes, name: "0003_fill" }]);
    await assert.rejects(db.rollback({ steps: 3 }), {
      code: "ERR_DATABASE_MIGRATION",
      message: /are refused, and nothing was changed: 0002_one_way has no way down$/,
    });
    assert.equal((await appliedIn(db)).length, 3);
    const failing: Migration = { ...fillNotes, name: "0003_fill", down: (tx) => tx.query(sql`select nothing`) };
    await using next = other(db, [createNotes, oneWay, failing]);
    await assert.rejects(next.rollback(), {
      message: /^migration 0003_fill of schema "\w+" failed on the way down, and/,
    });
    assert.equal((await appliedIn(db)).length, 3);
  });

  it("show in a dry run what they would do, in a schema that is not there too, and leave nothing", async () => {
    await using admin = await open([]);
    const schema = `${admin.schema}_dry`;
    const after: Migration = { name: "0004_after", up: fail };
    await using db = other({ ...admin, schema }, [createNotes, fillNotes, indexNotes, after]);
    const steps = await db.migrate({ dryRun: true });
    assert.deepEqual(
      steps.map(({ name, statements }) => [name, statements]),
      [
        ["0001_create_notes", ["create table notes (id int primary key)"]],
        ["0002_fill_notes", ["insert into notes values ($1)"]],
        [
          "0003_index_notes",
          [
            "create index concurrently notes_up on notes (id)",
            "create index concurrently notes_down on notes (id desc)",
          ],
        ],
        ["0004_after", undefined],
      ],
    );
    assert.deepEqual(
      steps.map(({ tookMs }) => tookMs === undefined),
      [false, false, true, true],
    );
    assert.ok((await db.migrationStatus()).every(({ status }) => status === "pending"));
    const { rows } = await admin.query(sql`select 1 from pg_namespace where nspname = ${schema}`);
    assert.deepEqual(rows, []);
  });

  it("show in a dry run which of them would fail, and the way down", async () => {
    await using db = await open([createNotes, fillNotes]);
    const [step] = await db.rollback({ dryRun: true });
    assert.deepEqual(step?.statements, ["delete from notes"]);
    assert.equal((await appliedIn(db)).length, 2);
    const nested: Migration = {
      name: "0003_nested",
      up: (tx) => tx.transaction((inner) => inner.query(sql`create table nested (id int)`)),
    };
    await using third = other(db, [createNotes, fillNotes, nested]);
    const [{ statements = [] } = {}] = await third.migrate({ dryRun: true });
    assert.ok(statements.includes("create table nested (id int)"), statements.join());
    await using broken = other(db, [createNotes, fillNotes, { name: "0003_no", up: (tx) => tx.query(sql`select no`) }]);
    await assert.rejects(broken.migrate({ dryRun: true }), { message: /^migration 0003_no of .*"no" does not exist/ });
  });

  it("tell their status without changing or waiting for anything", async () => {
    await using admin = await open([]);
    await using db = other(admin, [createNotes, { name: "0002_one_way", up: async () => {} }]);
    assert.deepEqual(
      (await db.migrationStatus()).map(({ name, status, reversible }) => [name, status, reversible]),
      [
        ["0001_create_notes", "pending", true],
        ["0002_one_way", "pending", false],
      ],
    );
    await assert.rejects(appliedIn(admin), { sqlState: "42P01" });
    await db.migrate({ to: "0001_create_notes" });
    const [first] = await db.migrationStatus();
    assert.match(first?.appliedAt ?? "", /^20\S+Z$/);
    assert.ok((first?.tookMs ?? -1) >= 0);
  });

  it("take over the table that earlier versions have made", async () => {
    await using admin = await open([]);
    await admin.query(
      sql.raw(`create table plinth_migrations (name varchar(255) primary key, timestamp varchar(255) not null);
      create table plinth_migrations_lock (id varchar(255) primary key, is_locked integer not null default 0);
      insert into plinth_migrations values ('0001_create_notes', '2026-01-02T03:04:05.678Z');
      create table notes (id int primary key)`),
    );
    await using db = other(admin, [createNotes, fillNotes]);
    assert.deepEqual(
      (await db.migrationStatus()).map(({ status, appliedAt }) => [status, appliedAt]),
      [
        ["applied", "2026-01-02T03:04:05.678Z"],
        ["pending", undefined],
      ],
    );
    assert.deepEqual(namesOf(await db.migrate()), ["0002_fill_notes"]);
    assert.equal((await db.migrationStatus())[0]?.appliedAt, "2026-01-02T03:04:05.678Z");
    assert.deepEqual(namesOf(await db.kysely.introspection.getTables()), ["notes"]);
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
    try {
      for (let run = 0; run < 5; run++) {
        await using db = other(admin, [createNotes]);
        await db.migrate();
        await admin.query(sql`drop table notes, plinth_migrations`);
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
      ["notes", "plinth_migrations"],
    );
  });
});
