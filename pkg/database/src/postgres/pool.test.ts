import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createMetrics } from "@plinth/kernel";
import type { Database } from "../database.ts";
import type { EmbeddedPostgres } from "../embedded/index.ts";
import { sql } from "../index.ts";
import { startTestPostgres, testDatabase } from "../testing/index.ts";
import { assertThrown, until } from "../testing/until.ts";

const fail = (): never => assert.fail("it should have been refused");

/** Takes a connection and keeps it until told. */
async function hold(db: Database): Promise<{ readonly pid: number; release(): Promise<void> }> {
  const taken = Promise.withResolvers<number>();
  const free = Promise.withResolvers<void>();
  const work = db.transaction(async (tx) => {
    const { rows } = await tx.query(sql<{ pid: number }>`select pg_backend_pid() as pid`);
    taken.resolve(rows[0]!.pid);
    await free.promise;
  });
  const pid = await taken.promise;
  return {
    pid,
    release: () => {
      free.resolve();
      return work;
    },
  };
}

describe("the pool", { timeout: 30_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());
  const open = (options = {}) => testDatabase({ url: server.url, ...options });

  it("never opens more connections than it may, whoever waits", async () => {
    await using db = await open({ maxConnections: 2 });
    const ask = async (): Promise<void> => {
      await db.query(sql`select pg_sleep(0.001)`);
      assert.ok(db.stats().inUse + db.stats().idle + db.stats().opening <= 2);
    };
    await Promise.all(Array.from({ length: 40 }, ask));
    assert.equal(db.stats().waiting, 0);
  });

  it("serves the waiting in their order", async () => {
    // of two connections one may be slow, and then who was served later has its answer earlier
    await using db = await open({ maxConnections: 1 });
    const order: number[] = [];
    const numbers = Array.from({ length: 40 }, (_, n) => n);
    await Promise.all(numbers.map((n) => db.query(sql`select 1`).then(() => order.push(n))));
    assert.deepEqual(order, numbers);
  });

  it("gives up waiting with the numbers and what to raise", async () => {
    await using db = await open({ maxConnections: 2, acquireTimeoutMs: 50 });
    const held = [await hold(db), await hold(db)];
    const first = db.query(sql`select 1`).then(fail, (error: unknown) => error);
    const second = db.query(sql`select 1`).then(fail, (error: unknown) => error);
    const message =
      "no connection free after 50 ms: 2 of 2 in use, 0 being opened, 1 more waiting; raise maxConnections, or look for one that is held for too long";
    const error = await first;
    assert.ok(error instanceof Error);
    assert.equal(error.message, message);
    assertThrown(error, {
      code: "ERR_DATABASE_ACQUIRE_TIMEOUT",
      status: "unavailable",
      retryable: true,
    });
    assertThrown(await second, { code: "ERR_DATABASE_ACQUIRE_TIMEOUT" });
    assert.equal(db.stats().waiting, 0);
    for (const one of held) await one.release();
    assert.equal((await db.query(sql`select 1`)).rows.length, 1);
  });

  it("stops waiting when the caller's signal aborts, without losing its place for others", async () => {
    await using db = await open({ maxConnections: 1 });
    const held = await hold(db);
    const controller = new AbortController();
    const waiting = db.query(sql`select 1`, { signal: controller.signal }).then(fail, (error: unknown) => error);
    const next = db.query(sql`select 2 as two`);
    await until(() => db.stats().waiting === 2);
    controller.abort();
    assertThrown(await waiting, { code: "ERR_DATABASE_CANCELLED", status: "cancelled" });
    await held.release();
    assert.deepEqual((await next).rows, [{ two: 2 }]);
  });

  it("refuses at once whoever would make the queue longer than it may be, and says so", async () => {
    await using db = await open({ maxConnections: 1, maxWaiting: 2 });
    const held = await hold(db);
    const waiting = [1, 2].map((n) => db.query(sql`select ${n}::int as n`));
    await until(() => db.stats().waiting === 2);
    await assert.rejects(db.query(sql`select 3`), {
      code: "ERR_DATABASE_OVERLOADED",
      status: "unavailable",
      retryable: true,
      message: "2 queries wait for a connection already, as many as maxWaiting allows; 1 of 1 connections are in use",
    });
    assert.equal(db.stats().waiting, 2);
    await held.release();
    assert.deepEqual(
      (await Promise.all(waiting)).map(({ rows }) => rows),
      [[{ n: 1 }], [{ n: 2 }]],
    );
  });

  it("lets nobody wait where it is told so", async () => {
    await using db = await open({ maxConnections: 1, maxWaiting: 0 });
    const held = await hold(db);
    await assert.rejects(db.query(sql`select 1`), { code: "ERR_DATABASE_OVERLOADED" });
    await held.release();
    assert.equal((await db.query(sql`select 1`)).rows.length, 1);
  });

  it("answers the health check while every connection is held and others wait", async () => {
    await using db = await open({ maxConnections: 1 });
    const held = await hold(db);
    const waiting = db.query(sql`select 1`);
    await db.health({ signal: AbortSignal.timeout(1_000) });
    assert.equal(db.stats().waiting, 1);
    await held.release();
    await waiting;
  });

  it("closes connections that nobody used for the idle time", async () => {
    await using db = await open({ maxConnections: 3, idleTimeoutMs: 20 });
    await Promise.all([1, 2, 3].map(() => db.query(sql`select pg_sleep(0.01)`)));
    assert.ok(db.stats().idle > 0);
    await until(() => db.stats().idle === 0);
    assert.equal((await db.query(sql`select 1`)).rows.length, 1);
  });

  it("shows itself and the waits in the metrics", async () => {
    const metrics = createMetrics();
    await using db = await open({ maxConnections: 3, metrics });
    const held = await hold(db);
    await db.query(sql`select 1`);
    await db.query(sql`select nothing`).catch(() => "refused");
    const { body } = await metrics.expose();
    for (const line of [
      'database_pool_connections{state="in_use"} 1',
      'database_pool_connections{state="idle"} 1',
      "database_pool_max_connections 3",
      "database_pool_waiting 0",
      'database_query_duration_seconds_count{operation="SELECT",outcome="ok"} 2',
      'database_query_duration_seconds_count{operation="SELECT",outcome="error"} 1',
      'database_query_duration_seconds_count{operation="BEGIN",outcome="ok"} 1',
      'database_errors_total{code="ERR_DATABASE_QUERY"} 1',
      'database_connect_duration_seconds_count{outcome="ok"} 2',
      'database_connections_closed_total{reason="lost"} 0',
      "database_pool_max_waiting 1000",
      "database_pool_acquire_duration_seconds_count 4",
    ]) {
      assert.ok(body.includes(`${line}\n`), `${line} is not in\n${body}`);
    }
    await held.release();
  });

  it("counts in the metrics how transactions end, and why connections and queries failed", async () => {
    const metrics = createMetrics();
    await using db = await open({ maxConnections: 1, maxWaiting: 0, metrics });
    await db.transaction((tx) => tx.query(sql`select 1`));
    await db.transaction((tx) => tx.query(sql`select nothing`)).catch(() => "refused");
    const swallowed = db.transaction((tx) => tx.query(sql`select nothing`).catch(() => "swallowed"));
    await assert.rejects(swallowed, { code: "ERR_DATABASE_ROLLED_BACK" });
    const held = await hold(db);
    await db.query(sql`select 1`).catch(() => "refused");
    await held.release();
    await db.query(sql`set work_mem = '1MB'`); // leaves a session that nobody else may have
    await db.query(sql`select 1`);
    await db.close();
    const { body } = await metrics.expose();
    for (const line of [
      'database_transaction_duration_seconds_count{outcome="committed"} 2',
      'database_transaction_duration_seconds_count{outcome="rolled_back"} 2',
      'database_errors_total{code="ERR_DATABASE_QUERY"} 2',
      'database_errors_total{code="ERR_DATABASE_ROLLED_BACK"} 1',
      'database_errors_total{code="ERR_DATABASE_OVERLOADED"} 1',
      'database_connections_closed_total{reason="unclean"} 1',
      'database_connections_closed_total{reason="shutdown"} 1',
      'database_connect_duration_seconds_count{outcome="ok"} 2',
    ]) {
      assert.ok(body.includes(`${line}\n`), `${line} is not in\n${body}`);
    }
  });

  describe("close", () => {
    it("lets running work end, refuses new work and whoever waits, and is safe twice", async () => {
      await using db = await open({ maxConnections: 1 });
      const held = await hold(db);
      const waiting = db.query(sql`select 1`).then(fail, (error: unknown) => error);
      await until(() => db.stats().waiting === 1);
      const closing = db.close();
      const closed = { code: "ERR_DATABASE_CLOSED", status: "unavailable" };
      assertThrown(await waiting, closed);
      await assert.rejects(db.query(sql`select 1`), closed);
      await assert.rejects(db.health(), closed);
      await held.release();
      await Promise.all([closing, db.close(), db.close({ signal: AbortSignal.abort() })]);
      assert.deepEqual(db.stats(), { inUse: 0, idle: 0, opening: 0, waiting: 0, maxConnections: 1 });
    });

    it("cuts running work when its signal aborts, and the server undoes it", async () => {
      await using db = await open();
      await using other = await open();
      const held = await hold(db);
      const running = db.query(sql`select pg_sleep(60)`).then(fail, (error: unknown) => error);
      await until(() => db.stats().inUse === 2);
      const controller = new AbortController();
      const closing = db.close({ signal: controller.signal });
      controller.abort();
      await closing;
      assertThrown(await running, { code: "ERR_DATABASE_CLOSED" });
      await assert.rejects(held.release());
      await until(async () => {
        const { rows } = await other.query(sql`select 1 from pg_stat_activity where pid = ${held.pid}`);
        return rows.length === 0;
      });
    });

    it("ends while connections are still being opened, and leaves none", async () => {
      await using db = await open({ maxConnections: 5 });
      const work = [1, 2, 3, 4, 5].map(() => db.query(sql`select 1`).catch((error: unknown) => error));
      await db.close();
      await Promise.all(work);
      assert.partialDeepStrictEqual(db.stats(), { inUse: 0, idle: 0, opening: 0 });
    });
  });
});
