import assert from "node:assert/strict";
import { sql } from "kysely";
import type { Database } from "../database.ts";
import { until } from "./until.ts";
import type { Define, SuiteTables } from "./suite-context.ts";

/** Takes so many connections and keeps them until told. */
async function hold(db: Database<SuiteTables>, count: number): Promise<() => Promise<unknown>> {
  const free = Promise.withResolvers<void>();
  const taken = Array.from({ length: count }, () => Promise.withResolvers<void>());
  const work = taken.map(({ resolve }) =>
    db.transaction(async (tx) => {
      await tx.query(sql`select 1`);
      resolve();
      await free.promise;
    }),
  );
  await Promise.all(taken.map(({ promise }) => promise));
  return () => {
    free.resolve();
    return Promise.all(work);
  };
}

/** What the pool of one service does beside that of another. */
export function pooling(define: Define): void {
  define("leaves another service its connections and its schema, when it holds all of its own", async ({ open }) => {
    await using one = await open({ maxConnections: 2, maxWaiting: 0 });
    await using two = await open({ maxConnections: 2 });
    await one.query(sql`create table notes as select 'one' as text`);
    await two.query(sql`create table notes as select 'two' as text`);
    const release = await hold(one, 2);
    await assert.rejects(one.query(sql`select 1`), { code: "ERR_DATABASE_OVERLOADED", message: /2 of 2/ });
    await one.health();
    const answers = await Promise.all(Array.from({ length: 20 }, () => two.query(sql`select text from notes`)));
    for (const { rows } of answers) assert.deepEqual(rows, [{ text: "two" }]);
    await release();
    assert.deepEqual((await one.query(sql`select text from notes`)).rows, [{ text: "one" }]);
  });

  define(
    "lets several statements share one connection, and cleans it, where there are sessions",
    async ({ db, pooler }) => {
      const work = db.withConnection(async (session) => {
        await session.query(sql`set work_mem to '1MB'`);
        await session.query(sql`create temp table parts (n int)`);
        return (await session.query(sql`select current_setting('work_mem') as memory`)).rows;
      });
      if (pooler === "transaction") {
        await assert.rejects(work, { code: "ERR_DATABASE_UNSUPPORTED", message: /transaction/ });
        return;
      }
      assert.deepEqual(await work, [{ memory: "1MB" }]);
      const after = await db.query(sql<{ memory: string }>`select current_setting('work_mem') as memory`);
      assert.notEqual(after.rows[0]?.memory, "1MB");
      await assert.rejects(db.query(sql`select from parts`), { sqlState: "42P01" });
    },
  );

  define("lets running work end when it is closed, and refuses what comes then", async ({ open }) => {
    await using db = await open({ maxConnections: 1 });
    const work = db.query(sql`select pg_sleep(0.02)`);
    await until(() => db.stats().inUse === 1);
    const closing = db.close();
    await assert.rejects(db.query(sql`select 1`), { code: "ERR_DATABASE_CLOSED" });
    assert.equal((await work).rows.length, 1);
    await closing;
    await db.close();
  });
}
