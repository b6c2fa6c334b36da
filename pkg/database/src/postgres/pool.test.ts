import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, Socket } from "node:net";
import { after, before, describe, it, mock } from "node:test";
import { createLogger, createMetrics, runInContext } from "@plinth/kernel";
import { FakeClock, MemoryLog } from "@plinth/kernel/testing";
import { type Database, openDatabase } from "../database.ts";
import type { EmbeddedPostgres } from "../embedded/index.ts";
import { type Queries, sql } from "../index.ts";
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

const readyForQuery = Buffer.from("Z\0\0\0\x05I", "latin1");
const endedByAdministrator = Buffer.from("E\0\0\0\x24SFATAL\0C57P01\0Mtold to go away\0\0", "latin1");

/** In front of a server: ends the connection that is made next, as an administrator does, in the very packet that ends its setting up. */
async function startFarewell(port: number) {
  let isDue = false;
  let said = 0;
  const proxy = createServer((client) => {
    let greetings = isDue ? 3 : Infinity; // after the log-in, the search path, and a look at it
    isDue = false;
    const upstream = connect(port, "127.0.0.1");
    client.on("error", () => upstream.destroy()).on("close", () => upstream.destroy());
    upstream.on("error", () => client.destroy()).on("close", () => client.destroy());
    client.pipe(upstream);
    upstream.on("data", (data: Buffer) => {
      if (data.subarray(-readyForQuery.length).equals(readyForQuery)) greetings--;
      if (greetings > 0) client.write(data);
      else client.end(Buffer.concat([data, endedByAdministrator]));
      if (greetings <= 0) said++;
    });
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const address = proxy.address();
  assert.ok(address !== null && typeof address === "object");
  return {
    port: address.port,
    sayItToTheNext: () => void (isDue = true),
    said: () => said,
    [Symbol.asyncDispose]: async () => {
      proxy.close();
      await once(proxy, "close");
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

  it("hands out no connection that was ended together with its greeting", async () => {
    const url = new URL(server.url);
    await using proxy = await startFarewell(Number(url.port));
    url.port = String(proxy.port);
    await using db = await open({ url: url.href, minConnections: 2, maxConnections: 2 });
    await until(() => db.stats().idle === 2);
    proxy.sayItToTheNext();
    await db.query(sql`select pg_terminate_backend(pg_backend_pid())`).catch(() => undefined);
    await until(() => proxy.said() === 1 && db.stats().idle === 2);
    await Promise.all([db.query(sql`select 1`), db.query(sql`select 1`)]);
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
    const clock = new FakeClock();
    await using db = await open({ clock, maxConnections: 2, acquireTimeoutMs: 50 });
    const held = [await hold(db), await hold(db)];
    const first = db.query(sql`select 1`).then(fail, (error: unknown) => error);
    const second = db.query(sql`select 1`).then(fail, (error: unknown) => error);
    await until(() => db.stats().waiting === 2);
    await clock.advance(50);
    const message =
      /^no connection free after 50 ms: 2 of 2 in use, the longest for \d+ ms by unknown, 0 being opened, 1 more waiting; raise maxConnections, or look for one that is held for too long$/;
    const error = await first;
    assert.ok(error instanceof Error);
    assert.match(error.message, message);
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

  it("names whoever holds a connection for the longest: by the label given, else by what is being served", async () => {
    const clock = new FakeClock();
    await using db = await open({ clock, maxConnections: 1, acquireTimeoutMs: 20 });
    const held = await runInContext({ route: "GET /notes/{id}" }, () => hold(db));
    const waiting = db.query(sql`select 1`).then(fail, (error: unknown) => error);
    await until(() => db.stats().waiting === 1);
    await clock.advance(20);
    assertThrown(await waiting, { message: /the longest for 20 ms by GET \/notes\/\{id\}, 0 being/ });
    assert.equal(db.stats().longestHeldBy, "GET /notes/{id}");
    assert.equal(db.stats().longestHeldMs, 20);
    await held.release();
    assert.partialDeepStrictEqual(db.stats(), { longestHeldMs: 0, longestHeldBy: undefined });
  });

  describe("a connection that is held for too long", () => {
    async function holdTooLong(isProduction: boolean) {
      const before = process.env["NODE_ENV"];
      process.env["NODE_ENV"] = isProduction ? "production" : "test";
      try {
        const clock = new FakeClock();
        const metrics = createMetrics();
        const destination = new MemoryLog();
        const log = await createLogger({ level: "warn", format: "json", destination });
        await using db = await open({ clock, metrics, log, maxHeldMs: 1_000, maxConnections: 2 });
        const held = await runInContext({ route: "GET /leak" }, () => hold(db));
        await clock.advance(999);
        assert.equal(destination.lines.length, 0);
        await clock.advance(1);
        await clock.advance(5_000);
        const other = await hold(db);
        await clock.advance(500);
        await other.release();
        await clock.advance(5_000);
        await held.release();
        await log.flush();
        const { body } = await metrics.expose();
        return { lines: destination.lines, body };
      } finally {
        process.env["NODE_ENV"] = before;
        if (before === undefined) delete process.env["NODE_ENV"];
      }
    }

    it("is told of once, with who has it and where it was taken, and counted", async () => {
      const { lines, body } = await holdTooLong(false);
      assert.equal(lines.length, 1, JSON.stringify(lines));
      const [line] = lines;
      assert.partialDeepStrictEqual(line, { level: "warn", heldMs: 1_000, label: "GET /leak" });
      assert.match(JSON.stringify(line), /ERR_DATABASE_HELD.*taken here.*pool\.test\.ts/);
      assert.match(body, /database_connections_held_too_long_total\{database="main"\} 1\n/);
      assert.match(body, /database_pool_longest_held_seconds\{database="main"\} 0\n/);
    });

    it("is told of without a stack in production", async () => {
      const { lines } = await holdTooLong(true);
      assert.equal(lines.length, 1);
      assert.doesNotMatch(JSON.stringify(lines), /taken here/);
    });
  });

  it("has the system find unused connections whose other end has gone without a word", async () => {
    const setKeepAlive = mock.method(Socket.prototype, "setKeepAlive");
    try {
      await using db = await open();
      await db.query(sql`select 1`);
      const asked = setKeepAlive.mock.calls.map((call) => [...call.arguments]);
      assert.ok(asked.length > 0);
      for (const args of asked) assert.deepEqual(args, [true, 10_000]);
    } finally {
      setKeepAlive.mock.restore();
    }
  });

  it("keeps the least number of connections open, also unused ones and those that it loses", async () => {
    const clock = new FakeClock();
    await using admin = await open();
    await using db = await open({ clock, minConnections: 2, maxConnections: 4, idleTimeoutMs: 1_000 });
    await until(() => db.stats().idle === 2);
    const held = await Promise.all([hold(db), hold(db), hold(db)]);
    await Promise.all(held.map((one) => one.release()));
    assert.equal(db.stats().idle, 3);
    await clock.advance(1_001);
    assert.equal(db.stats().idle, 2);
    await clock.advance(60_000);
    assert.equal(db.stats().idle, 2);
    await admin.query(
      sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${`plinth:${db.schema}`}`,
    );
    await until(() => db.stats().idle < 2);
    await until(() => db.stats().idle === 2);
  });

  describe("the age of connections", () => {
    it("is limited, differs from one to the other, and ends one in use when it is given back", async () => {
      const clock = new FakeClock();
      const metrics = createMetrics();
      const numbers = [0, 0.5, 0.999];
      await using db = await open({
        clock,
        metrics,
        maxConnections: 3,
        idleTimeoutMs: 1_000_000,
        maxLifetimeMs: 1_000,
        random: () => numbers.shift() ?? 0.5,
      });
      const held = await Promise.all([hold(db), hold(db), hold(db)]);
      const [first] = held;
      await held[1]?.release();
      await held[2]?.release();
      await clock.advance(899);
      assert.deepEqual([db.stats().inUse, db.stats().idle], [1, 2]);
      await clock.advance(202);
      assert.deepEqual([db.stats().inUse, db.stats().idle], [1, 0]);
      assert.ok(first);
      await first.release();
      assert.deepEqual([db.stats().inUse, db.stats().idle], [0, 0]);
      const { body } = await metrics.expose();
      assert.match(body, /database_connections_closed_total\{database="main",reason="lifetime"\} 3\n/);
    });

    it("does not end all of them at once", async () => {
      const clock = new FakeClock();
      await using db = await open({ clock, maxConnections: 10, idleTimeoutMs: 100_000_000, maxLifetimeMs: 10_000_000 });
      const held = await Promise.all(Array.from({ length: 10 }, () => hold(db)));
      await Promise.all(held.map((one) => one.release()));
      await clock.advance(8_999_999);
      assert.equal(db.stats().idle, 10);
      const sizes = new Set<number>();
      for (let step = 0; step <= 40; step++) {
        sizes.add(db.stats().idle);
        await clock.advance(50_000);
      }
      assert.equal(db.stats().idle, 0);
      assert.ok(sizes.size >= 4, `they ended in steps: ${[...sizes].join(", ")}`);
    });
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
      'database_pool_connections{database="main",state="in_use"} 1',
      'database_pool_connections{database="main",state="idle"} 1',
      'database_pool_max_connections{database="main"} 3',
      'database_pool_waiting{database="main"} 0',
      'database_query_duration_seconds_count{database="main",operation="SELECT",outcome="ok"} 2',
      'database_query_duration_seconds_count{database="main",operation="SELECT",outcome="error"} 1',
      'database_query_duration_seconds_count{database="main",operation="BEGIN",outcome="ok"} 1',
      'database_errors_total{database="main",code="ERR_DATABASE_QUERY"} 1',
      'database_connect_duration_seconds_count{database="main",outcome="ok"} 2',
      'database_connections_closed_total{database="main",reason="lost"} 0',
      'database_pool_max_waiting{database="main"} 1000',
      'database_pool_acquire_duration_seconds_count{database="main"} 4',
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
      'database_transaction_duration_seconds_count{database="main",outcome="committed"} 2',
      'database_transaction_duration_seconds_count{database="main",outcome="rolled_back"} 2',
      'database_errors_total{database="main",code="ERR_DATABASE_QUERY"} 2',
      'database_errors_total{database="main",code="ERR_DATABASE_ROLLED_BACK"} 1',
      'database_errors_total{database="main",code="ERR_DATABASE_OVERLOADED"} 1',
      'database_connections_closed_total{database="main",reason="unclean"} 1',
      'database_connections_closed_total{database="main",reason="shutdown"} 1',
      'database_connect_duration_seconds_count{database="main",outcome="ok"} 2',
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
      assert.partialDeepStrictEqual(db.stats(), { inUse: 0, idle: 0, opening: 0, waiting: 0, longestHeldMs: 0 });
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

    it("ends a start that waits for its server, which begins nothing afterwards", async () => {
      const destination = new MemoryLog();
      const log = await createLogger({ level: "warn", format: "json", destination });
      const migrations = [{ name: "0001_nothing", up: async () => {} }];
      const db = openDatabase({
        url: "postgres://127.0.0.1:1/x",
        schema: "x",
        log,
        connectWaitMs: 600_000,
        migrations,
      });
      const starting = db.connect().then(fail, (error: unknown) => error);
      await until(() => destination.lines.length > 0);
      await db.close();
      const closed = { code: "ERR_DATABASE_CLOSED" };
      assertThrown(await starting, closed);
      await assert.rejects(db.connect(), closed);
      await assert.rejects(db.migrate(), closed);
    });

    for (const isCut of [false, true]) {
      it(`${isCut ? "cuts a migration that runs when its signal aborts" : "waits for a migration that runs"}, and begins no other`, async () => {
        const begun = Promise.withResolvers<void>();
        const go = Promise.withResolvers<void>();
        const first = async (tx: Queries): Promise<void> => {
          await tx.query(sql`create table notes (id int)`);
          begun.resolve();
          await go.promise;
        };
        const migrations = [
          { name: "0001_first", up: first },
          { name: "0002_second", up: async () => assert.fail("it should not have begun") },
        ];
        await using db = await open({ migrations, migrateOnConnect: false });
        const migrating = db.migrate().then(fail, (error: unknown) => error);
        await begun.promise;
        const closing = db.close(isCut ? { signal: AbortSignal.abort() } : {});
        if (isCut) await closing;
        go.resolve();
        assertThrown(await migrating, { code: isCut ? "ERR_DATABASE_MIGRATION" : "ERR_DATABASE_CLOSED" });
        await closing;
        await using other = await open();
        const there = sql`select 1 from pg_tables where schemaname = ${db.schema} and tablename = 'notes'`;
        assert.equal((await other.query(there)).rows.length, isCut ? 0 : 1);
      });
    }

    it("ends while connections are still being opened, and leaves none", async () => {
      await using db = await open({ maxConnections: 5 });
      const work = [1, 2, 3, 4, 5].map(() => db.query(sql`select 1`).catch((error: unknown) => error));
      await db.close();
      await Promise.all(work);
      assert.partialDeepStrictEqual(db.stats(), { inUse: 0, idle: 0, opening: 0 });
    });
  });
});
