import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createErrorBus, createMetrics, type ErrorReport, systemClock } from "@plinth/kernel";
import { openDatabase } from "./database.ts";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "./embedded/index.ts";
import { sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";
import { assertThrown, until } from "./testing/until.ts";

const fail = (): never => assert.fail("it should have been refused");

describe("a connection that the server ends", { timeout: 30_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());
  const open = (options = {}) => testDatabase({ url: server.url, ...options });

  it("while idle is reported once, folded with others, reaches no uncaughtException, and is replaced with its schema set", async () => {
    const reports: ErrorReport[] = [];
    const errors = createErrorBus({ clock: systemClock });
    errors.subscribe({ name: "test", report: (batch) => void reports.push(...batch) });
    await using admin = await open();
    await using db = await open({ maxConnections: 3, errors });
    await Promise.all([1, 2, 3].map(() => db.query(sql`select pg_sleep(0.02)`)));
    await until(() => db.stats().opening === 0); // one query may have been served by another's connection meanwhile
    const idle = db.stats().idle;
    assert.ok(idle > 0);
    await admin.query(
      sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${`plinth:${db.schema}`}`,
    );
    await until(() => db.stats().idle === 0);
    await errors.flush();
    const told = reports.reduce((sum, { count }) => sum + count, 0);
    assert.equal(told, idle, "each once");
    assert.ok(reports.length <= 2, "the first at once, the others folded");
    assert.partialDeepStrictEqual(reports[0], {
      severity: "warning",
      handled: true,
      attributes: { schema: db.schema },
    });
    assert.deepEqual((await db.query(sql`select current_schema() as schema`)).rows, [{ schema: db.schema }]);
  });

  it("while busy fails that statement alone, and undoes its transaction", async () => {
    await using admin = await open();
    await using db = await open({ maxConnections: 1 });
    await db.query(sql`create table notes (n int)`);
    const started = Promise.withResolvers<number>();
    const work = db
      .transaction(async (tx) => {
        await tx.query(sql`insert into notes values (1)`);
        started.resolve((await tx.query(sql<{ pid: number }>`select pg_backend_pid() as pid`)).rows[0]!.pid);
        await tx.query(sql`select pg_sleep(60)`);
      })
      .then(fail, (error: unknown) => error);
    const pid = await started.promise;
    await admin.query(sql`select pg_terminate_backend(${pid})`);
    assertThrown(await work, {
      code: "ERR_DATABASE_CONNECTION_LOST",
      status: "unavailable",
      retryable: true,
      sqlState: "57P01",
    });
    assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 0);
  });

  it("in the middle of a commit leaves its outcome unknown, and says so", async () => {
    await using admin = await open();
    await using db = await open({ maxConnections: 1 });
    await db.query(sql`create table notes (n int)`);
    // A trigger that runs at commit holds the commit open for as long as the test needs.
    await db.query(
      sql`create function wait() returns trigger language plpgsql as 'begin perform pg_sleep(60); return null; end'`,
    );
    await db.query(
      sql`create constraint trigger late after insert on notes initially deferred for each row execute function wait()`,
    );
    const pid = (await db.query(sql<{ pid: number }>`select pg_backend_pid() as pid`)).rows[0]!.pid;
    const work = db
      .transaction((tx) => tx.query(sql`insert into notes values (1)`))
      .then(fail, (error: unknown) => error);
    await until(async () => {
      const { rows } = await admin.query(
        sql`select 1 from pg_stat_activity where pid = ${pid} and query = 'commit' and state = 'active'`,
      );
      return rows.length > 0;
    });
    void db.close({ signal: AbortSignal.abort() }); // cuts the connection from this side
    assertThrown(await work, {
      code: "ERR_DATABASE_OUTCOME_UNKNOWN",
      status: "unknown",
      retryable: false,
    });
    await admin.query(sql`select pg_terminate_backend(${pid})`); // it would hold its locks for the rest of its sleep
  });
});

describe("services that share a server", { timeout: 30_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());

  it("have a schema and a limit each", async () => {
    await using one = await testDatabase({ url: server.url, maxConnections: 1, acquireTimeoutMs: 1_000 });
    await using two = await testDatabase({ url: server.url, maxConnections: 1 });
    for (const [db, text] of [
      [one, "one"],
      [two, "two"],
    ] as const) {
      await db.query(sql`create table notes (text text)`);
      await db.query(sql`insert into notes values (${text})`);
    }
    await one.transaction(async (tx) => {
      assert.deepEqual((await tx.query(sql`select text from notes`)).rows, [{ text: "one" }]);
      await assert.rejects(one.query(sql`select 1`), { code: "ERR_DATABASE_ACQUIRE_TIMEOUT" });
      assert.deepEqual((await two.query(sql`select text from notes`)).rows, [{ text: "two" }]);
    });
  });

  it("are told what to create or grant", async () => {
    await using admin = await testDatabase({ url: server.url });
    const role = `reader_${admin.schema}`;
    await admin.query(sql`create role ${sql.id(role)} login password 'x'`);
    const url = server.url.replace(/\/\/[^@]*@/, `//${role}:x@`);

    const absent = openDatabase({ url, schema: `${admin.schema}_2` });
    await assert.rejects(absent.connect(), {
      code: "ERR_DATABASE_SCHEMA",
      message: new RegExp(`may not create it; .* authorization "${role}"`),
    });
    await absent.close();

    const told = openDatabase({ url, schema: `${admin.schema}_2`, createSchema: false });
    await assert.rejects(told.connect(), {
      code: "ERR_DATABASE_SCHEMA",
      message: /createSchema is off; run: create schema/,
    });
    await told.close();

    const closed = openDatabase({ url, schema: admin.schema });
    await assert.rejects(closed.connect(), {
      code: "ERR_DATABASE_SCHEMA",
      message: new RegExp(`not granted to "${role}"`),
    });
    await closed.close();

    const stranger = openDatabase({ url: url.replace(":x@", ":wrong@"), schema: admin.schema });
    await assert.rejects(stranger.connect(), {
      code: "ERR_DATABASE_ACCESS",
      message: /password authentication failed/,
    });
    await stranger.close();
    await admin.query(sql`drop role ${sql.id(role)}`);
  });

  it("make one schema when they start at once", async () => {
    await using admin = await testDatabase({ url: server.url });
    const schema = `${admin.schema}_many`;
    const all = Array.from({ length: 8 }, () => openDatabase({ url: server.url, schema, maxConnections: 1 }));
    await Promise.all(all.map((db) => db.connect()));
    await admin.query(sql`drop schema ${sql.id(schema)}`);
    await Promise.all(all.map((db) => db.close()));
  });
});

/** Takes connections as `onConnection` does, which is no PostgreSQL, and counts them. */
async function startListener(onConnection: (socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    onConnection(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address);
  return {
    url: `postgres://u:p@127.0.0.1:${address.port}/x`,
    attempts: () => sockets.length,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

describe("a server that cannot be had", { timeout: 30_000 }, () => {
  const unavailable = { code: "ERR_DATABASE_UNAVAILABLE", status: "unavailable", retryable: true };

  it("is asked ever more rarely, however many queries come, and each fails at once", async () => {
    await using listener = await startListener((socket) => void socket.destroy());
    const metrics = createMetrics();
    const db = openDatabase({ url: listener.url, schema: "notes", maxConnections: 10, metrics });
    const startedAtMs = performance.now();
    let failed = 0;
    while (performance.now() - startedAtMs < 1_000) {
      await Promise.all([1, 2, 3].map(() => assert.rejects(db.query(sql`select 1`), unavailable)));
      failed += 3;
      await new Promise(setImmediate);
    }
    // At first three at once, then one each after 50, 100, 200, 400 ms at least, and so on: the fifth wait is beyond a second.
    assert.ok(listener.attempts() <= 3 + 5, `${listener.attempts()} attempts for ${failed} queries`);
    assert.ok(failed > 10 * listener.attempts(), `${failed} queries`);
    const { body } = await metrics.expose();
    assert.match(
      body,
      new RegExp(`database_errors_total\\{database="main",code="ERR_DATABASE_UNAVAILABLE"\\} ${failed}\n`),
    );
    await db.close();
  });

  it("that takes connections and says nothing holds up those who wait for the limit of one attempt, and nobody after", async () => {
    await using listener = await startListener(() => {});
    const db = openDatabase({ url: listener.url, schema: "notes", maxConnections: 2, connectTimeoutMs: 300 });
    await Promise.all(Array.from({ length: 50 }, () => assert.rejects(db.query(sql`select 1`), unavailable)));
    assert.equal(listener.attempts(), 2);
    await assert.rejects(db.query(sql`select 1`), {
      ...unavailable,
      message: /^no connection to the database after 300 ms; this was \d+ ms ago, and the next try is in \d+ ms$/,
    });
    assert.equal(listener.attempts(), 2);
    assert.equal(db.stats().waiting, 0);
    await db.close();
  });

  it("is left alone by pings that are given up, each of which makes one connection at most", async () => {
    await using listener = await startListener(() => {});
    const db = openDatabase({ url: listener.url, schema: "notes" });
    const pings = [1, 2, 3].map(() => db.health({ signal: AbortSignal.timeout(50) }));
    for (const ping of pings)
      await assert.rejects(ping, { code: "ERR_DATABASE_CANCELLED", status: "deadline_exceeded" });
    assert.equal(listener.attempts(), 1);
    await db.close({ signal: AbortSignal.abort() });
  });
});

describe("a server that is killed", { timeout: 30_000 }, () => {
  it("fails queries fast with a typed error, and is used again once it is back", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "plinth-killed-"));
    await chmod(dataDir, 0o755); // the server's account may enter it, so that all of it is removed in the end
    const first = await startEmbeddedPostgres({ dataDir });
    const port = Number(new URL(first.url).port);
    const errors = createErrorBus({ clock: systemClock });
    const db = openDatabase({ url: first.url, schema: "notes", maxConnections: 4, errors });
    await db.connect();
    await db.query(sql`create table notes (n int)`);

    const busy = [
      db.query(sql`select pg_sleep(60)`).then(fail, (error: unknown) => error),
      db.query(sql`insert into notes select 1 from pg_sleep(60)`).then(fail, (error: unknown) => error),
    ];
    await until(() => db.stats().inUse === 2 && db.stats().opening === 0);
    const rows = await db.query(sql<{ path: string }>`select current_setting('data_directory') as path`);
    const pidFile = join(rows.rows[0]!.path, "postmaster.pid");
    process.kill(Number((await readFile(pidFile, "utf8")).split("\n")[0]), "SIGKILL");

    const [read, write] = await Promise.all(busy);
    assertThrown(read, { code: "ERR_DATABASE_CONNECTION_LOST", retryable: true });
    assertThrown(write, { code: "ERR_DATABASE_OUTCOME_UNKNOWN", retryable: false });
    await until(() => db.stats().idle === 0);
    const startedAtMs = performance.now();
    const unavailable = { code: "ERR_DATABASE_UNAVAILABLE", status: "unavailable", retryable: true };
    await Promise.all(Array.from({ length: 20 }, () => assert.rejects(db.query(sql`select 1`), unavailable)));
    await assert.rejects(db.health(), unavailable);
    assert.ok(performance.now() - startedAtMs < 500, "they fail fast");

    const second = await startEmbeddedPostgres({ dataDir, port });
    assert.equal(second.started, true);
    const { rows: after } = await db.query(
      sql`select current_schema() as schema, (select count(*)::int from notes) as notes`,
    );
    assert.deepEqual(after, [{ schema: "notes", notes: 0 }]);
    await db.health();

    await db.close();
    await first.stop();
    await second.stop();
    await rm(dataDir, { recursive: true });
  });
});
