import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createMetrics, runInContext } from "@plinth/kernel";
import { FakeClock } from "@plinth/kernel/testing";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { type Database, sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";
import { until } from "./testing/until.ts";

const numbers = (last: number) => sql<{ n: number }>`select n from generate_series(1, ${last}::int) n`;

describe("stream", { timeout: 60_000 }, () => {
  let server: EmbeddedPostgres;
  let db: Database & AsyncDisposable;
  before(async () => {
    server = await startTestPostgres();
    db = await testDatabase({ url: server.url, maxConnections: 1 });
    await db.query(sql`create table notes (n int)`);
  });
  after(async () => {
    await db[Symbol.asyncDispose]();
    await server.stop();
  });

  it("asks the server for no more than is read: rows that fail behind the first part do not matter to who stops before", async () => {
    const rows: number[] = [];
    for await (const { n } of db.stream(sql<{ n: number }>`select 100 / (8 - n) as n from generate_series(1, 100) n`, {
      batchSize: 4,
    })) {
      rows.push(n);
      if (rows.length === 3) break;
    }
    assert.deepEqual(rows, [14, 16, 20]);
    assert.deepEqual(db.stats().inUse, 0);
  });

  it("gives the connection back with the last part, before that is read", async () => {
    const seen: number[] = [];
    for await (const { n } of db.stream(numbers(5), { batchSize: 10 })) {
      if (n === 1) seen.push(db.stats().inUse);
    }
    assert.deepEqual(seen, [0]);
  });

  it("keeps the session it was on, whether it is read to the end, left, failed or cancelled", async () => {
    const pid = async () => (await db.query(sql<{ pid: number }>`select pg_backend_pid() as pid`)).rows[0]?.pid;
    const first = await pid();
    for await (const { n } of db.stream(numbers(1_000), { batchSize: 100 })) assert.ok(n > 0);
    for await (const { n } of db.stream(numbers(1_000), { batchSize: 10 })) if (n === 25) break;
    await assert.rejects(
      async () => {
        for await (const row of db.stream(sql`select 1 / (20 - n) from generate_series(1, 100) n`, { batchSize: 10 }))
          assert.ok(row);
      },
      { code: "ERR_DATABASE_QUERY", sqlState: "22012" },
    );
    await assert.rejects(
      async () => {
        for await (const { n } of db.stream(numbers(100), { batchSize: 10 })) if (n === 15) throw new Error("no");
      },
      { message: "no" },
    );
    await assert.rejects(
      async () => {
        const signal = AbortSignal.timeout(20);
        for await (const row of db.stream(sql`select pg_sleep(60)`, { signal })) assert.ok(row);
      },
      { code: "ERR_DATABASE_CANCELLED", status: "deadline_exceeded" },
    );
    assert.equal(await pid(), first);
  });

  it("is ended between two parts by its signal, without waiting for who reads, who is told later", async () => {
    const controller = new AbortController();
    const rows = runInContext({ signal: controller.signal }, () => db.stream(numbers(100), { batchSize: 2 }));
    assert.deepEqual((await rows.next()).value, { n: 1 });
    assert.equal(db.stats().inUse, 1);
    controller.abort();
    await until(() => db.stats().inUse === 0);
    assert.deepEqual((await rows.next()).value, { n: 2 }, "what is here already");
    await assert.rejects(rows.next(), { code: "ERR_DATABASE_CANCELLED" });
    assert.deepEqual(await rows.next(), { done: true, value: undefined });
  });

  it("is taken from who reads no further for too long", async () => {
    const clock = new FakeClock();
    await using paced = await testDatabase({ url: server.url, clock, idleInTransactionTimeoutMs: 5_000 });
    const rows = paced.stream(numbers(100), { batchSize: 1 });
    await rows.next();
    await clock.advance(5_000);
    await until(() => paced.stats().inUse === 0);
    await assert.rejects(rows.next(), { code: "ERR_DATABASE_TIMEOUT", message: /not read on for 5000 ms/ });
  });

  it("holds nothing when it is never read, and refuses a second reading", async () => {
    const rows = db.stream(numbers(3));
    assert.equal(db.stats().inUse, 0);
    await rows.return();
    assert.deepEqual(await rows.next(), { done: true, value: undefined });
  });

  it("makes a transaction refuse other queries until it has been read, and ends with it", async () => {
    await db.transaction(async (tx) => {
      await tx.query(sql`insert into notes select generate_series(1, 30)`);
      const rows = tx.stream(sql<{ n: number }>`select n from notes`, { batchSize: 10 });
      await rows.next();
      const busy = { code: "ERR_DATABASE_BUSY", message: /rows of it are being streamed; read them to their end/ };
      await assert.rejects(tx.query(sql`select 1`), busy);
      await assert.rejects(tx.stream(numbers(1)).next(), busy);
      await assert.rejects(
        tx.transaction(async () => {}),
        busy,
      );
      for await (const { n } of rows) assert.ok(n > 0);
      await tx.query(sql`delete from notes where n > 10`);
    });
    const left = await db.transaction(async (tx) => {
      const rows = tx.stream(sql<{ n: number }>`select n from notes`, { batchSize: 1 });
      await rows.next();
      return rows;
    });
    await assert.rejects(left.next(), { code: "ERR_DATABASE_CLOSED" });
    assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 10);
    assert.equal(db.stats().inUse, 0);
  });

  it("is what kysely's own stream is", async () => {
    const tables = db.withTables<{ notes: { n: number } }>();
    let count = 0;
    for await (const { n } of tables.kysely.selectFrom("notes").select("n").stream(3)) {
      assert.ok(n > 0);
      if (++count === 7) break;
    }
    await db.transaction(async (tx) => {
      for await (const row of tx.stream(tables.kysely.selectFrom("notes").selectAll().compile()))
        count += row.n > 0 ? 1 : 0;
    });
    assert.equal(count, 17);
    assert.equal(db.stats().inUse, 0);
  });

  it("undoes a write that is cancelled, and keeps one that is read", async () => {
    await db.query(sql`delete from notes`);
    const write = (signal?: AbortSignal) =>
      db.stream(sql<{ n: number }>`insert into notes select generate_series(1, 10) returning n`, {
        batchSize: 2,
        ...(signal ? { signal } : {}),
      });
    const controller = new AbortController();
    await assert.rejects(
      async () => {
        for await (const { n } of write(controller.signal)) if (n === 3) controller.abort();
      },
      { code: "ERR_DATABASE_CANCELLED" },
    );
    assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 0);
    for await (const { n } of write()) assert.ok(n > 0);
    assert.equal((await db.query(sql`select 1 from notes`)).rows.length, 10);
  });

  it("leaves a usable pool after a value that cannot be sent, and after COPY, which it refuses", async () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    await assert.rejects(db.stream(sql`select ${circular}::jsonb`).next(), { code: "ERR_DATABASE_QUERY" });
    await assert.rejects(db.stream(sql`copy notes from stdin`).next(), { code: "ERR_DATABASE_UNSUPPORTED" });
    await assert.rejects(db.stream(sql`nonsense`).next(), { code: "ERR_DATABASE_QUERY", sqlState: "42601" });
    assert.deepEqual((await db.query(sql`select 1 as one`)).rows, [{ one: 1 }]);
  });

  it("fails when the connection is lost on the way, and when the pool is closed", async () => {
    await using admin = await testDatabase({ url: server.url });
    await using own = await testDatabase({ url: server.url });
    const rows = own.stream(sql<{ pid: number }>`select pg_backend_pid() as pid from generate_series(1, 9)`, {
      batchSize: 1,
    });
    const { value } = await rows.next();
    assert.ok(value);
    await admin.query(sql`select pg_terminate_backend(${value.pid})`);
    await assert.rejects(rows.next(), { code: "ERR_DATABASE_CONNECTION_LOST" });
    assert.equal(own.stats().inUse, 0);
    const later = own.stream(numbers(9), { batchSize: 1 });
    await later.next();
    await own.close({ signal: AbortSignal.abort() });
    await assert.rejects(later.next(), { code: "ERR_DATABASE_CLOSED" });
  });

  it("counts the time in which the server is waited for, not that of who reads", async () => {
    const clock = new FakeClock();
    const metrics = createMetrics();
    await using paced = await testDatabase({ url: server.url, clock, metrics });
    for await (const { n } of paced.stream(numbers(3), { batchSize: 1 })) {
      assert.ok(n > 0);
      await clock.advance(1_000);
    }
    const { body } = await metrics.expose();
    assert.match(body, /database_query_duration_seconds_sum\{database="main",operation="SELECT",outcome="ok"\} 0\n/);
  });

  for (const batchSize of [0, 1.5, 100_001]) {
    it(`refuses ${batchSize} rows at a time`, () => {
      assert.throws(() => db.stream(numbers(1), { batchSize }), { code: "ERR_OPTION_RANGE", message: /^batchSize/ });
    });
  }
});
