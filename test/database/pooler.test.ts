// What a pooler between a service and its server may not do to it, nor it to others.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Database, openDatabase, sql } from "@plinth/database";
import type { EmbeddedPostgres } from "@plinth/database/embedded";
import { testDatabase, type TestDatabaseOptions } from "@plinth/database/testing";
import { createMetrics, randomHex } from "@plinth/kernel";
import { assertThrown, until } from "../../pkg/database/src/testing/until.ts";
import { makeCertificate } from "../../pkg/transport/src/testing/certificates.ts";
import { type PgBouncer, startPgBouncer } from "../support/pgbouncer.ts";
import { startPostgres15 } from "../support/postgres.ts";

const fail = (): never => assert.fail("it should have been refused");

interface Tables {
  notes: { id: number; text: string };
}

let server: EmbeddedPostgres;
let bouncer: PgBouncer;
let admin: Database & AsyncDisposable;

/** Through which one server connection serves all. */
const narrow = (more: Partial<TestDatabaseOptions> = {}) =>
  testDatabase<Tables>({ url: bouncer.url("narrow"), pooler: "transaction", ...more });

before(async () => {
  server = await startPostgres15();
  admin = await testDatabase({ url: server.url });
  bouncer = await startPgBouncer({
    server: server.url,
    databases: {
      narrow: "pool_mode=transaction pool_size=1",
      wide: "pool_mode=transaction pool_size=5",
      sessions: "pool_mode=session pool_size=5",
    },
  });
});

after(async () => {
  await bouncer?.stop();
  await admin?.[Symbol.asyncDispose]();
  await server?.stop();
});

/** What the next client finds on the one server connection, whoever it is. */
async function leftBehind(): Promise<unknown> {
  const stranger = openDatabase({ url: bouncer.url("narrow"), schema: "public", pooler: "transaction" });
  try {
    // `public` is on the path of this role, so that this is sent without a transaction around it.
    const { rows } = await stranger.query(sql`select now() = statement_timestamp() as bare,
      current_setting('search_path') as path, current_setting('statement_timeout') as statement,
      current_setting('idle_in_transaction_session_timeout') as idle`);
    return rows[0];
  } finally {
    await stranger.close();
  }
}

const untouched = { bare: true, path: '"$user", public', statement: "0", idle: "0" };

describe("a pooler that hands out transactions", { timeout: 60_000 }, () => {
  it("keeps two services in their own schemas on the one server connection that they share", async () => {
    await using one = await narrow({ maxConnections: 4 });
    await using two = await narrow({ maxConnections: 4 });
    const services = [one, two];
    for (const db of services) {
      await db.query(sql`create table notes (id int, text text)`);
      await db.query(sql`insert into notes values (0, ${db.schema})`);
    }
    const ask = async (db: Database<Tables>, n: number): Promise<string | undefined> => {
      switch (n % 4) {
        case 0:
          return (await db.query(sql<{ text: string }>`select text from notes where id = 0`)).rows[0]?.text;
        case 1:
          return (await db.kysely.selectFrom("notes").select("text").where("id", "=", 0).executeTakeFirst())?.text;
        case 2:
          return (await db.kysely.updateTable("notes").set({ id: 0 }).returning("text").executeTakeFirst())?.text;
        default:
          return db.transaction(
            async (tx) => (await tx.query(sql<{ text: string }>`select text from notes`)).rows[0]?.text,
          );
      }
    };
    let asked = 0;
    const worker = async (db: Database<Tables>): Promise<void> => {
      while (asked < 2_000) assert.equal(await ask(db, asked++), db.schema);
    };
    await Promise.all(services.flatMap((db) => [1, 2, 3, 4].map(() => worker(db))));
    assert.deepEqual(await leftBehind(), untouched);
  });

  it("finds nothing of a session changed after failures, cancellations and streams", async () => {
    await using db = await narrow({ maxConnections: 2 });
    await db.query(sql`select nothing`).catch(() => "refused");
    await db.transaction((tx) => tx.query(sql`select nothing`)).catch(() => "refused");
    await db.query(sql`select pg_sleep(60)`, { signal: AbortSignal.timeout(20) }).catch(() => "cancelled");
    await db.query(sql`set search_path to pg_catalog`).catch(() => "refused");
    await db.transaction((tx) => tx.query(sql`set local work_mem to '1MB'`));
    for await (const row of db.stream(sql`select generate_series(1, 100) as n`)) if (row !== undefined) break;
    assert.deepEqual(await leftBehind(), untouched);
  });

  it("has a statement's cancellation reach that statement alone", async () => {
    await using one = await narrow({ maxConnections: 1 });
    await using two = await narrow({ maxConnections: 1 });
    const others = { goOn: true };
    const other = (async (): Promise<number> => {
      let count = 0;
      for (; others.goOn; count++) assert.equal((await two.query(sql`select ${count}::int as n`)).rows.length, 1);
      return count;
    })();
    for (let time = 0; time < 60; time++) {
      const controller = new AbortController();
      const work = one
        .query(sql`select pg_sleep(0.002)`, { signal: controller.signal })
        .catch((error: unknown) => error);
      setTimeout(() => controller.abort(), time % 8);
      const outcome = await work; // before, while or after it runs
      if (outcome instanceof Error) assertThrown(outcome, { code: "ERR_DATABASE_CANCELLED" });
    }
    others.goOn = false;
    assert.ok((await other) > 0);
  });

  it("costs one round trip where the role's own search path says the schema", async () => {
    const role = `own_path_${randomHex(4)}`;
    await admin.query(sql`create role ${sql.id(role)} login password 'x'`);
    await admin.query(sql`grant usage, create on schema ${sql.id(admin.schema)} to ${sql.id(role)}`);
    await admin.query(sql`alter role ${sql.id(role)} set search_path to ${sql.id(admin.schema)}`);
    const url = bouncer.url("wide").replace(/\/\/[^@]*@/, `//${role}:x@`);
    const bare = sql`select now() = statement_timestamp() as bare, current_schema() as schema`;
    const own = openDatabase({ url, schema: admin.schema, pooler: "transaction" });
    await own.connect();
    assert.deepEqual((await own.query(bare)).rows, [{ bare: true, schema: admin.schema }]);
    await own.close();
    await using other = await testDatabase({ url: bouncer.url("wide"), pooler: "transaction" });
    assert.deepEqual((await other.query(bare)).rows, [{ bare: false, schema: other.schema }]);
    await admin.query(sql`drop owned by ${sql.id(role)}`);
    await admin.query(sql`drop role ${sql.id(role)}`);
  });

  it("has the limits of a service kept on its side, and by the server in transactions", async () => {
    await using db = await narrow({ statementTimeoutMs: 12_345, idleInTransactionTimeoutMs: 23_456 });
    const { rows } = await db.query(sql`select current_setting('statement_timeout') as statement,
      current_setting('idle_in_transaction_session_timeout') as idle`);
    assert.deepEqual(rows, [{ statement: "12345ms", idle: "23456ms" }]);
  });

  it("ends a statement at its limit that waits for a server connection", async () => {
    await using holder = await narrow();
    await using db = await narrow({ statementTimeoutMs: 100, maxConnections: 1 });
    await holder.transaction(async (tx) => {
      await tx.query(sql`select 1`);
      await assert.rejects(db.query(sql`select 1`), { code: "ERR_DATABASE_TIMEOUT", status: "deadline_exceeded" });
      await assert.rejects(db.query(sql`select 1`, { signal: AbortSignal.timeout(30) }), {
        code: "ERR_DATABASE_CANCELLED",
      });
    });
    assert.deepEqual((await db.query(sql`select 1 as one`)).rows, [{ one: 1 }]);
  });

  it("that has no server connection to give for too long is unavailable, and the statement was never sent", async () => {
    await using hasty = await startPgBouncer({
      server: server.url,
      databases: { narrow: "pool_mode=transaction pool_size=1" },
      settings: { query_wait_timeout: 1 },
    });
    const options = { url: hasty.url("narrow"), pooler: "transaction" } as const;
    await using db = await testDatabase<Tables>(options);
    await using holder = await testDatabase(options);
    await db.query(sql`create table notes (id int, text text)`);
    await holder.transaction(async (tx) => {
      await tx.query(sql`select 1`);
      const insert = db.kysely.insertInto("notes").values({ id: 1, text: "never" }).execute();
      assertThrown(await insert.then(fail, (error: unknown) => error), {
        code: "ERR_DATABASE_UNAVAILABLE",
        status: "unavailable",
        retryable: true,
        message: /the pooler has no connection to the database/,
      });
    });
    assert.deepEqual(await db.kysely.selectFrom("notes").selectAll().execute(), []);
  });

  it("that restarts loses what runs, with no doubt about what stood in a transaction, and is used again", async () => {
    await using db = await testDatabase<Tables>({ url: bouncer.url("wide"), pooler: "transaction", maxConnections: 3 });
    await db.query(sql`create table notes (id int, text text)`);
    const work = [
      db.query(sql`select pg_sleep(60)`),
      db.query(sql`insert into notes select 1, 'a' from pg_sleep(60)`),
      db.transaction((tx) => tx.query(sql`insert into notes select 1, 'b' from pg_sleep(60)`)),
    ].map((each) => each.then(fail, (error: unknown) => error));
    await until(async () => (await running(db.schema, "pg_sleep(60)")) === 3);
    await bouncer.restart();
    await endAll(db.schema);
    for (const error of await Promise.all(work)) {
      assertThrown(error, { code: "ERR_DATABASE_CONNECTION_LOST", retryable: true });
    }
    assert.deepEqual((await db.query(sql`select from notes`)).rows, []);
    await db.health();
  });
});

/** How many sessions of a service run a statement that holds `text`, as the server sees it. */
async function running(schema: string, text: string): Promise<number> {
  const { rows } = await admin.query(sql`select from pg_stat_activity
    where application_name = ${`plinth:${schema}`} and state = 'active' and query like ${`%${text}%`}`);
  return rows.length;
}

/** A server does not look whether a client is there while it runs a statement, and holds its locks until then. */
async function endAll(schema: string): Promise<void> {
  await admin.query(sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${`plinth:${schema}`}
    and state = 'active' and query like '%pg_sleep(60)%'`);
}

describe("a pooler that hands out sessions", { timeout: 60_000 }, () => {
  it("that restarts leaves a write in doubt that was under way, and is used again with the schema set", async () => {
    await using db = await testDatabase({ url: bouncer.url("sessions"), pooler: "session" });
    await db.query(sql`create table notes (id int)`);
    const write = db.query(sql`insert into notes select 1 from pg_sleep(60)`).then(fail, (error: unknown) => error);
    await until(async () => (await running(db.schema, "pg_sleep(60)")) === 1);
    await bouncer.restart();
    await endAll(db.schema);
    assertThrown(await write, { code: "ERR_DATABASE_OUTCOME_UNKNOWN", retryable: false });
    const { rows } = await db.query(sql`select current_schema() as schema,
      current_setting('statement_timeout') as statement from notes right join (select) one on true`);
    assert.deepEqual(rows, [{ schema: db.schema, statement: "30s" }]);
  });
});

describe("a pooler that takes clients over TLS alone", { timeout: 60_000 }, () => {
  it("is cancelled through TLS as well, in either mode", async () => {
    const certificate = makeCertificate();
    const folder = await mkdtemp(join(tmpdir(), "plinth-pooler-"));
    const caFile = join(folder, "ca.pem");
    await writeFile(caFile, certificate.cert);
    await using secure = await startPgBouncer({
      server: server.url,
      databases: { transaction: "pool_mode=transaction pool_size=2", session: "pool_mode=session pool_size=3" },
      tls: certificate,
    });
    for (const pooler of ["transaction", "session"] as const) {
      const metrics = createMetrics();
      const options = { url: secure.url(pooler), pooler, tls: { caFile }, metrics };
      await using db = await testDatabase({ ...options, maxConnections: 1 });
      for (let time = 0; time < 5; time++) {
        const controller = new AbortController();
        const work = db
          .query(sql`select pg_sleep(60)`, { signal: controller.signal })
          .then(fail, (error: unknown) => error);
        await until(async () => (await running(db.schema, "pg_sleep(60)")) === 1);
        controller.abort();
        assertThrown(await work, { code: "ERR_DATABASE_CANCELLED", sqlState: undefined });
        assert.deepEqual((await db.query(sql`select ${time}::int as time`)).rows, [{ time }]);
      }
      assert.equal(await running(db.schema, "pg_sleep(60)"), 0);
      const { body } = await metrics.expose();
      for (const reason of ["unclean", "lost"]) {
        assert.match(
          body,
          new RegExp(`connections_closed_total\\{[^}]*reason="${reason}"[^}]*\\} 0\n`),
          "none was cut",
        );
      }
    }
    await rm(folder, { recursive: true });
  });
});

describe("a pooler that nobody told of", { timeout: 60_000 }, () => {
  it("is found when it refuses what a log-in asks for, and the start says what to set", async () => {
    const db = openDatabase({ url: bouncer.url("wide"), schema: "notes" });
    await assert.rejects(db.connect(), {
      code: "ERR_DATABASE_UNSUPPORTED",
      message: /a pooler stands in between, .* set pooler to "session" or "transaction"/,
    });
    await db.close();
  });

  it("is found when it takes what a log-in asks for, before anything is set on a session of others", async () => {
    await using lenient = await startPgBouncer({
      server: server.url,
      databases: { narrow: "pool_mode=transaction pool_size=1" },
      settings: { ignore_startup_parameters: "statement_timeout, idle_in_transaction_session_timeout, options" },
    });
    const db = openDatabase({ url: lenient.url("narrow"), schema: "public", createSchema: false });
    await assert.rejects(db.connect(), { code: "ERR_DATABASE_UNSUPPORTED", message: /there is a pooler in between/ });
    await db.close();
    const told = openDatabase({ url: lenient.url("narrow"), schema: "public", pooler: "transaction" });
    const { rows } = await told.query(sql`select current_setting('search_path') as path`);
    assert.deepEqual(rows, [{ path: '"$user", public' }]);
    await told.close();
  });
});

describe("a pooler that was told of wrongly", { timeout: 60_000 }, () => {
  it("is found when it hands out transactions and not sessions, before the schema is set for others", async () => {
    const db = openDatabase({ url: bouncer.url("narrow"), schema: "public", pooler: "session", createSchema: false });
    await assert.rejects(db.connect(), { code: "ERR_DATABASE_UNSUPPORTED", message: /set pooler to "transaction"/ });
    await db.close();
    const told = openDatabase({ url: bouncer.url("narrow"), schema: "public", pooler: "transaction" });
    const { rows } = await told.query(sql`select current_setting('search_path') as path`);
    assert.deepEqual(rows, [{ path: '"$user", public' }]);
    await told.close();
  });

  it("may hand out sessions to whoever thinks that they are transactions", async () => {
    await using db = await testDatabase({ url: bouncer.url("sessions"), pooler: "transaction" });
    assert.deepEqual((await db.query(sql`select current_schema() as schema`)).rows, [{ schema: db.schema }]);
  });
});

describe("a pooler that lets nobody in", { timeout: 60_000 }, () => {
  for (const [what, change] of [
    ["a wrong password", (url: string) => url.replace(/:[^:@/]*@/, ":wrong@")],
    ["a user that there is not", (url: string) => url.replace(/\/\/[^@]*@/, "//nobody_here:x@")],
    ["a database that it does not know", (url: string) => url.replace(/wide$/, "unknown")],
  ] as const) {
    it(`for ${what} fails the start at once`, async () => {
      const db = openDatabase({ url: change(bouncer.url("wide")), schema: "notes", pooler: "transaction" });
      await assert.rejects(db.connect(), { code: "ERR_DATABASE_ACCESS" });
      await db.close();
    });
  }
});
