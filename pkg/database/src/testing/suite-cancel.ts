import assert from "node:assert/strict";
import { sql } from "kysely";
import { assertThrown } from "./until.ts";
import type { Define } from "./suite-context.ts";

const slow = sql`select pg_sleep(60)`;

/** What ends a statement before its end. */
export function cancelling(define: Define): void {
  define("ends a statement that takes too long, at the server as well", async ({ open }) => {
    await using db = await open({ statementTimeoutMs: 100, maxConnections: 2 });
    // By the server, and not by cutting a connection to one that does not answer.
    const message = /^the statement ran into its limit of 100 ms/;
    const late = { code: "ERR_DATABASE_TIMEOUT", status: "deadline_exceeded", message };
    await db.query(sql`create table notes (id int)`);
    await assert.rejects(db.query(slow), late);
    // Written by kysely alone, and so sent as it is, also behind a pooler.
    await db.transaction(async (tx) => {
      await tx.query(sql`lock table notes in access exclusive mode`);
      await assert.rejects(db.kysely.selectFrom("notes").select("id").execute(), late);
    });
    await assert.rejects(
      db.transaction((tx) => tx.query(slow)),
      late,
    );
    assert.deepEqual((await db.query(sql`select 1 as one`)).rows, [{ one: 1 }]);
  });

  define("ends a statement whose caller has gone, and hits nothing that comes later", async ({ open }) => {
    await using db = await open({ maxConnections: 1 });
    for (let time = 0; time < 10; time++) {
      const controller = new AbortController();
      const work = db.query(slow, { signal: controller.signal }).then(
        () => assert.fail("it should have been cancelled"),
        (error: unknown) => error,
      );
      setTimeout(() => controller.abort(), time % 5);
      assertThrown(await work, { code: "ERR_DATABASE_CANCELLED", status: "cancelled" });
      assert.deepEqual((await db.query(sql`select ${time}::int as time`)).rows, [{ time }]);
    }
  });

  define("rolls a transaction back whose caller has gone", async ({ db }) => {
    const controller = new AbortController();
    const work = db.transaction(
      async (tx) => {
        await tx.query(sql`insert into notes (text) values ('lost')`);
        setTimeout(() => controller.abort(), 5);
        await tx.query(slow);
      },
      { signal: controller.signal },
    );
    await assert.rejects(work, { code: "ERR_DATABASE_CANCELLED" });
    assert.deepEqual((await db.query(sql`select from notes`)).rows, []);
  });

  define("sends nothing for a caller who has gone before", async ({ db }) => {
    const signal = AbortSignal.abort();
    const insert = sql`insert into notes (text) values ('never')`;
    await assert.rejects(db.query(insert, { signal }), { code: "ERR_DATABASE_CANCELLED" });
    await assert.rejects(
      db.transaction((tx) => tx.query(insert), { signal }),
      { code: "ERR_DATABASE_CANCELLED" },
    );
    assert.deepEqual((await db.query(sql`select from notes`)).rows, []);
  });
}
