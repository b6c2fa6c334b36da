import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { inspect } from "node:util";
import { MemoryLog } from "@plinth/kernel/testing";
import { createLogger, serializeError } from "@plinth/kernel";
import { openDatabase } from "./database.ts";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { DatabaseError, type DatabaseErrorCode, type Generated, type Migration, sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";

interface NotesTables {
  notes: { id: Generated<number>; text: string; stars: number; parent: number | null };
}

const createNotes: Migration = {
  name: "0001_create_notes",
  up: async ({ kysely }) => {
    await kysely.schema
      .createTable("notes")
      .addColumn("id", "integer", (column) => column.primaryKey().generatedAlwaysAsIdentity())
      .addColumn("text", "text", (column) => column.notNull().unique())
      .addColumn("stars", "integer", (column) => column.notNull().check(sql`stars >= 0`))
      .addColumn("parent", "integer", (column) => column.references("notes.id"))
      .execute();
  },
};

const fail = (): never => assert.fail("it should have been refused");

describe("openDatabase", () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());
  const open = (options = {}) => testDatabase<NotesTables>({ url: server.url, migrations: [createNotes], ...options });

  it("runs typed queries and sql templates in the service's schema", async () => {
    await using db = await open();
    await db.kysely.insertInto("notes").values({ text: "first", stars: 1 }).execute();
    const found = await db.kysely.selectFrom("notes").select(["text", "stars"]).execute();
    assert.deepEqual(found, [{ text: "first", stars: 1 }]);

    const raw = await db.query(sql<{ text: string }>`select text from notes where stars = ${1}`);
    assert.deepEqual(raw, { rows: [{ text: "first" }], affectedRows: 0 });
    const { affectedRows } = await db.query(sql`update notes set stars = stars + 1`);
    assert.equal(affectedRows, 1);
    const { rows } = await db.query(
      sql`select schemaname from pg_tables where tablename = 'notes' and schemaname = ${db.schema}`,
    );
    assert.equal(rows.length, 1);
  });

  it("sees the same pool with other tables", async () => {
    await using db = await testDatabase({ url: server.url, migrations: [createNotes] });
    const notes = db.withTables<NotesTables>();
    await notes.kysely.insertInto("notes").values({ text: "x", stars: 0 }).execute();
    assert.equal(notes.schema, db.schema);
    assert.deepEqual(notes.stats(), db.stats());
  });

  it("refuses a statement that is a string, whatever the compiler was told", async () => {
    await using db = await open();
    const text: unknown = "select 1";
    await assert.rejects(Reflect.apply(Reflect.get(db, "query"), db, [text]), {
      code: "ERR_OPTION_TYPE",
      message: /^statement must be made with sql/,
    });
  });

  it("sends values apart from the text, so that no value is ever SQL", async () => {
    await using db = await open();
    const evil = `'); drop table notes; --`;
    await db.kysely.insertInto("notes").values({ text: evil, stars: 0 }).execute();
    await db.query(sql`insert into notes (text, stars) values (${`${evil}2`}, ${0})`);
    const { rows } = await db.query(sql<{ text: string }>`select text from notes order by id`);
    assert.deepEqual(
      rows.map(({ text }) => text),
      [evil, `${evil}2`],
    );
    await assert.rejects(db.query(sql`select 1 from ${sql.table(`notes"; drop table notes; --`)}`), {
      code: "ERR_DATABASE_QUERY",
      sqlState: "42P01",
    });
    assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 2);
  });

  it("gives the last result of a text of several statements", async () => {
    await using db = await open();
    const { rows } = await db.query(sql`select 1 as n; select 2 as n`);
    assert.deepEqual(rows, [{ n: 2 }]);
  });

  describe("errors", () => {
    const cases: readonly [DatabaseErrorCode, string, string, ReturnType<typeof sql>, object][] = [
      [
        "ERR_DATABASE_UNIQUE",
        "already_exists",
        "23505",
        sql`insert into notes (text, stars) values ('hunter2', 1)`,
        { constraint: "notes_text_key", table: "notes", columns: ["text"] },
      ],
      [
        "ERR_DATABASE_NOT_NULL",
        "invalid_argument",
        "23502",
        sql`insert into notes (text) values ('hunter2b')`,
        { column: "stars", table: "notes" },
      ],
      [
        "ERR_DATABASE_CHECK",
        "invalid_argument",
        "23514",
        sql`insert into notes (text, stars) values ('hunter2b', -1)`,
        { constraint: "notes_stars_check" },
      ],
      [
        "ERR_DATABASE_FOREIGN_KEY",
        "failed_precondition",
        "23503",
        sql`insert into notes (text, stars, parent) values ('hunter2b', 1, 99)`,
        { constraint: "notes_parent_fkey", columns: ["parent"] },
      ],
      ["ERR_DATABASE_QUERY", "internal", "22P02", sql`select ${"hunter2"}::int`, {}],
      ["ERR_DATABASE_QUERY", "internal", "42703", sql`select nothing from notes`, {}],
      ["ERR_DATABASE_QUERY", "internal", "P0001", sql`do $$ begin raise exception 'hunter2'; end $$`, {}],
      ["ERR_DATABASE_CONFLICT", "aborted", "40001", sql`do $$ begin raise sqlstate '40001'; end $$`, {}],
      ["ERR_DATABASE_CONFLICT", "aborted", "40P01", sql`do $$ begin raise sqlstate '40P01'; end $$`, {}],
      ["ERR_DATABASE_CONFLICT", "aborted", "55P03", sql`do $$ begin raise sqlstate '55P03'; end $$`, {}],
      ["ERR_DATABASE_READ_ONLY", "unavailable", "25006", sql`do $$ begin raise sqlstate '25006'; end $$`, {}],
      ["ERR_DATABASE_UNAVAILABLE", "unavailable", "53300", sql`do $$ begin raise sqlstate '53300'; end $$`, {}],
      ["ERR_DATABASE_UNAVAILABLE", "unavailable", "53100", sql`do $$ begin raise sqlstate '53100'; end $$`, {}],
      ["ERR_DATABASE_ACCESS", "internal", "42501", sql`do $$ begin raise sqlstate '42501'; end $$`, {}],
    ];
    for (const [code, status, sqlState, statement, names] of cases) {
      it(`has ${code} for SQLSTATE ${sqlState}, and shows no value anywhere`, async () => {
        await using db = await open();
        await db.query(sql`insert into notes (text, stars) values ('hunter2', 1)`);
        const error = await db.query(statement).then(fail, (thrown: unknown) => thrown);
        assert.ok(error instanceof DatabaseError);
        assert.equal(error.code, code);
        assert.equal(error.status, status);
        assert.equal(error.sqlState, sqlState);
        assert.equal(error.retryable, status === "unavailable" || status === "aborted");
        for (const [field, value] of Object.entries(names)) assert.deepEqual(Reflect.get(error, field), value);
        assert.match(error.message, new RegExp(`\\(SQLSTATE ${sqlState}\\)`));
        const shown = inspect(error, { depth: 10 }) + JSON.stringify(error) + JSON.stringify(serializeError(error));
        assert.doesNotMatch(shown.replaceAll(/at .*\n?/g, ""), /hunter2/);
        assert.ok(error.serverText, "the server's own words are there for who asks");
      });
    }

    it("leaves a usable pool after a value that cannot be sent", async () => {
      await using db = await open({ maxConnections: 1 });
      const circular: Record<string, unknown> = {};
      circular.self = circular;
      await assert.rejects(db.query(sql`select ${circular}::jsonb`), { code: "ERR_DATABASE_QUERY" });
      assert.deepEqual((await db.query(sql`select 1 as one`)).rows, [{ one: 1 }]);
    });
  });

  describe("transaction", () => {
    it("commits what its callback did, and returns what it returned", async () => {
      await using db = await open();
      const id = await db.transaction(async (tx) => {
        await tx.query(sql`insert into notes (text, stars) values ('a', 1)`);
        const row = await tx.kysely
          .insertInto("notes")
          .values({ text: "b", stars: 1 })
          .returning("id")
          .executeTakeFirstOrThrow();
        return row.id;
      });
      assert.equal(id, 2);
      assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 2);
    });

    it("rolls back when its callback throws, with that very error", async () => {
      await using db = await open();
      const reason = new Error("no");
      const thrown = await db
        .transaction(async (tx) => {
          await tx.query(sql`insert into notes (text, stars) values ('a', 1)`);
          throw reason;
        })
        .then(fail, (error: unknown) => error);
      assert.equal(thrown, reason);
      assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 0);
      assert.deepEqual(db.stats().inUse, 0);
    });

    it("does not pretend to have committed after a failure that was caught", async () => {
      await using db = await open();
      const work = db.transaction(async (tx) => {
        await tx.query(sql`insert into notes (text, stars) values ('a', 1)`);
        await tx.query(sql`select 1/0`).catch(() => "caught");
      });
      await assert.rejects(work, { code: "ERR_DATABASE_ROLLED_BACK", status: "internal" });
      assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 0);
    });

    it("refuses writes when it is read only, and takes an isolation level", async () => {
      await using db = await open();
      const write = db.transaction((tx) => tx.query(sql`insert into notes (text, stars) values ('a', 1)`), {
        readOnly: true,
      });
      await assert.rejects(write, { code: "ERR_DATABASE_READ_ONLY" });
      const level = await db.transaction(
        async (tx) =>
          (await tx.query(sql<{ level: string }>`select current_setting('transaction_isolation') as level`)).rows[0]
            ?.level,
        { isolation: "serializable" },
      );
      assert.equal(level, "serializable");
    });

    it("tells of a conflict so that the caller can run it again", async () => {
      await using db = await open();
      await db.query(sql`insert into notes (text, stars) values ('a', 1)`);
      const isolation = "repeatable read";
      const work = db.transaction(
        async (tx) => {
          await tx.query(sql`select * from notes`);
          await db.query(sql`update notes set stars = 2`);
          await tx.query(sql`update notes set stars = 3`);
        },
        { isolation },
      );
      await assert.rejects(work, { code: "ERR_DATABASE_CONFLICT", status: "aborted", retryable: true });
    });

    it("runs queries that were started together one after the other", async () => {
      await using db = await open();
      const numbers = await db.transaction((tx) =>
        Promise.all([1, 2, 3].map(async (n) => (await tx.query(sql<{ n: number }>`select ${n}::int as n`)).rows[0]?.n)),
      );
      assert.deepEqual(numbers, [1, 2, 3]);
    });

    it("refuses a query that comes after its end", async () => {
      await using db = await open();
      const leaked = await db.transaction(async (tx) => tx);
      await assert.rejects(leaked.query(sql`select 1`), /ended|committed/);
      const connection = await db.kysely.connection().execute(async (own) => own);
      await assert.rejects(sql`select 1`.execute(connection), { code: "ERR_DATABASE_CLOSED" });
    });
  });

  describe("a connection that is given back", () => {
    it("is not reused after a transaction that was left open by hand", async () => {
      await using db = await open({ maxConnections: 1 });
      const pid = async () => (await db.query(sql<{ pid: number }>`select pg_backend_pid() as pid`)).rows[0]?.pid;
      const first = await pid();
      await db.query(sql`begin`);
      assert.notEqual(await pid(), first);
      assert.deepEqual((await db.query(sql`select now() = statement_timestamp() as alone`)).rows, [{ alone: true }]);
    });

    for (const [name, statement] of [
      ["set search_path", sql`set search_path to pg_catalog`],
      ["reset all", sql`reset all`],
      ["listen", sql`listen news`],
    ] as const) {
      it(`hands nothing of "${name}" to the next user`, async () => {
        await using db = await open({ maxConnections: 1 });
        await db.query(statement);
        const { rows } = await db.query(
          sql`select current_schema() as schema, (select count(*)::int from pg_listening_channels()) as channels`,
        );
        assert.deepEqual(rows, [{ schema: db.schema, channels: 0 }]);
      });
    }

    it("stays the same after set local in a transaction", async () => {
      await using db = await open({ maxConnections: 1 });
      const pid = async () => (await db.query(sql<{ pid: number }>`select pg_backend_pid() as pid`)).rows[0]?.pid;
      const first = await pid();
      await db.transaction((tx) => tx.query(sql`set local work_mem = '8MB'`));
      assert.equal(await pid(), first);
    });
  });

  it("logs a slow statement without its values", async () => {
    const destination = new MemoryLog();
    const log = await createLogger({ level: "info", format: "json", destination });
    await using db = await open({ slowQueryMs: 20, log });
    await db.query(sql`select pg_sleep(0.03), ${"hunter2"}::text, 'hunter2'`);
    await log.flush();
    // on a busy machine those of the migration may be slow as well
    const line = destination.withMessage("slow query").find(({ query }) => String(query).includes("pg_sleep"));
    assert.equal(line?.query, "select pg_sleep(?), $1::text, ?");
    assert.equal(line?.level, "warn");
    assert.ok(Number(line?.tookMs) >= 20);
    assert.doesNotMatch(JSON.stringify(destination.lines), /hunter2/);
  });
});

describe("openDatabase's options", () => {
  const good = { url: "postgres://127.0.0.1:1/x", schema: "notes" };
  const bad: readonly [string, object][] = [
    ["schema", { schema: 'a"; drop schema public; --' }],
    ["schema", { schema: "pg_toast" }],
    ["maxConnections", { maxConnections: 0 }],
    ["maxConnections", { maxConnections: 1.5 }],
    ["minConnections", { minConnections: 11 }],
    ["maxLifetimeMs", { maxLifetimeMs: -1 }],
    ["maxHeldMs", { maxHeldMs: 2 ** 31 }],
    ["connectWaitMs", { connectWaitMs: 0.5 }],
    ["acquireTimeoutMs", { acquireTimeoutMs: 0 }],
    ["connectTimeoutMs", { connectTimeoutMs: 2 ** 31 }],
    ["statementTimeoutMs", { statementTimeoutMs: -1 }],
    ["slowQueryMs", { slowQueryMs: Number.NaN }],
    ["url", { url: "mysql://user:hunter2@host/db" }],
    ["url", { url: "hunter2" }],
    ["url", { url: "postgres://user:hunter2@a:5432,b:0/x" }],
    ["url", { url: "postgres://user:hunter2@host/db?sslmode=prefer" }],
    ["migrations", { migrations: [createNotes, createNotes] }],
    ["migrations", { migrations: [{ ...createNotes, name: "../x" }] }],
  ];
  for (const [field, options] of bad) {
    it(`refuses ${inspect(options, { depth: 0 })} and names ${field}`, () => {
      assert.throws(
        () => openDatabase({ ...good, ...options }),
        (error: Error) => error.message.startsWith(field) && !error.message.includes("hunter2"),
      );
    });
  }

  it("says where it looked when nothing listens there", async () => {
    const db = openDatabase({ url: "postgres://user:hunter2@127.0.0.1:1/x", schema: "notes", connectWaitMs: 0 });
    const error = await db.connect().then(fail, (thrown: unknown) => thrown);
    assert.ok(error instanceof DatabaseError);
    assert.equal(error.code, "ERR_DATABASE_UNAVAILABLE");
    assert.match(error.message, /database x at 127\.0\.0\.1:1: .*ECONNREFUSED/);
    assert.doesNotMatch(inspect(error), /hunter2/);
    await db.close();
  });
});
