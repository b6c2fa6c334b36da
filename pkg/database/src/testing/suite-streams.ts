import assert from "node:assert/strict";
import { sql } from "kysely";
import type { Define } from "./suite-context.ts";

const numbers = (last: number) => sql<{ n: number }>`select n from generate_series(1, ${last}::int) n`;

/** What results do that are read in parts. */
export function streaming(define: Define): void {
  define("reads a large result in parts, in its own schema", async ({ db }) => {
    await db.query(sql`insert into notes (text) select 'note ' || n from generate_series(1, 1000) n`);
    let count = 0;
    for await (const { text } of db.stream(sql<{ text: string }>`select text from notes order by id`)) {
      assert.equal(text, `note ${++count}`);
    }
    assert.equal(count, 1_000);
    for await (const row of db.stream(db.kysely.selectFrom("notes").select("id").compile(), { batchSize: 7 })) {
      assert.equal(typeof row.id, "number");
      count--;
    }
    assert.equal(count, 0);
    for await (const row of db.kysely
      .selectFrom("notes")
      .select("id")
      .where(sql<boolean>`true`)
      .stream(50))
      count += row.id > 0 ? 1 : 0;
    assert.equal(count, 1_000);
  });

  define(
    "gives the connection back of a stream that is left early, that fails or that is cancelled",
    async ({ open }) => {
      await using db = await open({ maxConnections: 1 });
      for await (const { n } of db.stream(numbers(1e6), { batchSize: 10 })) if (n === 15) break;
      assert.equal(db.stats().inUse, 0);

      const failing = db.stream(sql`select 1 / (50 - n) as n from generate_series(1, 100) n`, { batchSize: 10 });
      await assert.rejects(drain(failing), { code: "ERR_DATABASE_QUERY", sqlState: "22012" });

      const controller = new AbortController();
      const cancelled = db.stream(sql`select n, pg_sleep(0.01) from generate_series(1, 10000) n`, {
        batchSize: 2,
        signal: controller.signal,
      });
      const abortAfter = async (): Promise<void> => {
        let seen = 0;
        for await (const row of cancelled) if (row !== undefined && ++seen === 3) controller.abort();
      };
      await assert.rejects(abortAfter(), { code: "ERR_DATABASE_CANCELLED" });
      assert.deepEqual((await db.query(sql`select 1 as one`)).rows, [{ one: 1 }]);
      assert.equal(db.stats().inUse, 0);
    },
  );

  define("reads in parts within a transaction, and sees what it did", async ({ db }) => {
    const sum = await db.transaction(async (tx) => {
      await tx.query(sql`insert into notes (text, stars) select n::text, n from generate_series(1, 300) n`);
      let stars = 0;
      for await (const row of tx.stream(sql<{ stars: number }>`select stars from notes`)) stars += row.stars;
      await tx.query(sql`delete from notes`);
      return stars;
    });
    assert.equal(sum, 45_150);
  });
}

async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const row of stream) assert.ok(row);
}
