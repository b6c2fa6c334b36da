import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { after, before, describe, it } from "node:test";
import { runInContext } from "@plinth/kernel";
import type { Database } from "../database.ts";
import type { EmbeddedPostgres } from "../embedded/index.ts";
import { sql } from "../index.ts";
import { startTestPostgres, testDatabase } from "../testing/index.ts";
import { assertThrown, until } from "../testing/until.ts";

const fail = (): never => assert.fail("it should have been refused");

async function pidOf(db: Database): Promise<number> {
  return (await db.query(sql<{ pid: number }>`select pg_backend_pid() as pid`)).rows[0]!.pid;
}

describe("cancelling", { timeout: 30_000 }, () => {
  let server: EmbeddedPostgres;
  let watcher: Database & AsyncDisposable;
  before(async () => {
    server = await startTestPostgres();
    watcher = await testDatabase({ url: server.url });
  });
  after(async () => {
    await watcher[Symbol.asyncDispose]();
    await server.stop();
  });
  const open = (options = {}) => testDatabase({ url: server.url, maxConnections: 1, ...options });

  async function isRunning(pid: number): Promise<boolean> {
    const { rows } = await watcher.query(sql`select 1 from pg_stat_activity where pid = ${pid} and state = 'active'`);
    return rows.length > 0;
  }

  it("stops the statement at the server when the signal aborts, and keeps the connection", async () => {
    await using db = await open();
    const pid = await pidOf(db);
    const controller = new AbortController();
    const work = db
      .query(sql`select pg_sleep(60)`, { signal: controller.signal })
      .then(fail, (error: unknown) => error);
    await until(() => isRunning(pid));
    const reason = new Error("the caller has gone");
    controller.abort(reason);
    assertThrown(await work, {
      code: "ERR_DATABASE_CANCELLED",
      status: "cancelled",
      cause: reason,
    });
    await until(async () => !(await isRunning(pid)));
    assert.equal(await pidOf(db), pid);
  });

  it("follows the signal of the request that is being served", async () => {
    await using db = await open();
    const pid = await pidOf(db);
    const controller = new AbortController();
    const work = runInContext({ signal: controller.signal }, () =>
      db.kysely.selectNoFrom(sql`pg_sleep(60)`.as("slept")).execute(),
    ).then(fail, (error: unknown) => error);
    await until(() => isRunning(pid));
    controller.abort();
    assertThrown(await work, { code: "ERR_DATABASE_CANCELLED" });
    await until(async () => !(await isRunning(pid)));
  });

  it("calls it a passed deadline when that is the reason", async () => {
    await using db = await open();
    const work = db.query(sql`select pg_sleep(60)`, { signal: AbortSignal.timeout(30) });
    await assert.rejects(work, { code: "ERR_DATABASE_CANCELLED", status: "deadline_exceeded" });
  });

  it("sends nothing when the signal has aborted before", async () => {
    await using db = await open();
    await watcher.query(sql`create table sent (n int)`);
    const work = db.query(sql`insert into ${sql.table(`${watcher.schema}.sent`)} values (1)`, {
      signal: AbortSignal.abort(),
    });
    await assert.rejects(work, { code: "ERR_DATABASE_CANCELLED" });
    assert.equal((await watcher.query(sql`select 1 from sent`)).rows.length, 0);
  });

  it("rolls a transaction back, also one whose signal aborts between two statements", async () => {
    await using db = await open();
    await db.query(sql`create table notes (n int)`);
    const controller = new AbortController();
    const work = db.transaction(
      async (tx) => {
        await tx.query(sql`insert into notes values (1)`);
        controller.abort();
      },
      { signal: controller.signal },
    );
    await assert.rejects(work, { code: "ERR_DATABASE_CANCELLED" });
    assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 0);
  });

  it("honours the signal of kysely's own execute", async () => {
    await using db = await open();
    const pid = await pidOf(db);
    const controller = new AbortController();
    const work = db.kysely
      .selectNoFrom(sql`pg_sleep(60)`.as("slept"))
      .execute({ signal: controller.signal })
      .then(fail, (error: unknown) => error);
    await until(() => isRunning(pid));
    controller.abort();
    assertThrown(await work, { name: "AbortError" });
    await until(() => db.stats().idle === 1);
    assert.equal(await pidOf(db), pid);
  });

  it("never hits a later statement of the same connection", async () => {
    await using db = await open();
    for (let round = 0; round < 300; round++) {
      const controller = new AbortController();
      const work = db.query(sql`select 1`, { signal: controller.signal }).catch((error: unknown) => error);
      if (round % 3 > 0) await new Promise(setImmediate);
      if (round % 3 > 1) await new Promise(setImmediate);
      controller.abort();
      await work;
      assert.deepEqual((await db.query(sql`select 2 as two`)).rows, [{ two: 2 }]);
    }
  });

  it("cuts the connection of a server that does not react, and leaves a write in doubt", async () => {
    await using db = await open({ maxConnections: 2 });
    await db.query(sql`create table notes (n int)`);
    const controller = new AbortController();
    const options = { signal: controller.signal };
    const read = db.query(sql`select pg_sleep(60)`, options);
    const write = db.query(sql`insert into notes select 1 from pg_sleep(60)`, options);
    const outcomes = Promise.all([read, write].map((work) => work.then(fail, (error: unknown) => error)));
    const pids: number[] = [];
    await until(async () => {
      const mine = `plinth:${db.schema}`;
      const { rows } = await watcher.query(
        sql<{
          pid: number;
        }>`select pid from pg_stat_activity where application_name = ${mine} and wait_event = 'PgSleep'`,
      );
      if (rows.length === 2) pids.push(...rows.map((row) => row.pid));
      return pids.length === 2;
    });
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    controller.abort();
    const [readError, writeError] = await outcomes.finally(() => {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    });
    assertThrown(readError, { code: "ERR_DATABASE_CANCELLED" });
    assertThrown(writeError, { code: "ERR_DATABASE_OUTCOME_UNKNOWN", status: "unknown" });
    assert.equal((await db.query(sql`select 1 as one`)).rows.length, 1);
  });

  it("tells the server's own limit from a cancellation", async () => {
    await using db = await open({ statementTimeoutMs: 40, maxConnections: 2 });
    await assert.rejects(db.query(sql`select pg_sleep(60)`), {
      code: "ERR_DATABASE_TIMEOUT",
      status: "deadline_exceeded",
      message: /limit of 40 ms/,
    });
    await using patient = await open();
    const pid = await pidOf(patient);
    const work = patient.query(sql`select pg_sleep(60)`).then(fail, (error: unknown) => error);
    await until(() => isRunning(pid));
    await watcher.query(sql`select pg_cancel_backend(${pid})`);
    assertThrown(await work, { code: "ERR_DATABASE_CANCELLED", status: "cancelled" });
  });

  it("gives up a connection that takes too long to open, whatever the server says or does not say", async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => void sockets.push(socket));
    const { promise, resolve } = Promise.withResolvers<void>();
    silent.listen(0, "127.0.0.1", resolve);
    await promise;
    const address = silent.address();
    assert.ok(typeof address === "object" && address);
    const url = `postgres://user@127.0.0.1:${address.port}/x`;
    await assert.rejects(testDatabase({ url, connectTimeoutMs: 50, connectWaitMs: 0 }), {
      code: "ERR_DATABASE_UNAVAILABLE",
      message: /no connection to the database after 50 ms/,
    });
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
});
