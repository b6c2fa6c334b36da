import assert from "node:assert/strict";
import { sql } from "kysely";
import { assertThrown } from "./until.ts";
import type { Define } from "./suite-context.ts";

/** What transactions do. */
export function transacting(define: Define): void {
  define("commits what a transaction did, or all of it not at all", async ({ db }) => {
    const answer = await db.transaction(async (tx) => {
      await tx.query(sql`insert into notes (text) values ('one')`);
      await tx.kysely.insertInto("notes").values({ text: "two" }).execute();
      return "done";
    });
    assert.equal(answer, "done");
    const mistake = new Error("mine");
    const failed = db.transaction(async (tx) => {
      await tx.query(sql`insert into notes (text) values ('three')`);
      throw mistake;
    });
    await assert.rejects(failed, mistake);
    const { rows } = await db.query(sql`select text from notes order by id`);
    assert.deepEqual(rows, [{ text: "one" }, { text: "two" }]);
  });

  define("keeps the statements of a transaction on one session, beside others", async ({ db }) => {
    const pids = await Promise.all(
      Array.from({ length: 4 }, () =>
        db.transaction(async (tx) => {
          const seen = new Set<number>();
          for (let time = 0; time < 3; time++) {
            const { rows } = await tx.query(sql<{ pid: number }>`select pg_backend_pid() as pid`);
            for (const { pid } of rows) seen.add(pid);
          }
          return seen.size;
        }),
      ),
    );
    assert.deepEqual(pids, [1, 1, 1, 1]);
  });

  define("undoes a part of a transaction alone, when it stands in one of its own", async ({ db }) => {
    await db.transaction(async (tx) => {
      await tx.query(sql`insert into notes (text) values ('outer')`);
      const inner = tx.transaction(async (part) => {
        await part.query(sql`insert into notes (text) values ('inner')`);
        await part.query(sql`insert into notes (text) values ('outer')`);
      });
      await assert.rejects(inner, { code: "ERR_DATABASE_UNIQUE" });
      await tx.transaction((part) => part.query(sql`insert into notes (text) values ('second')`));
    });
    const { rows } = await db.query(sql`select text from notes order by text`);
    assert.deepEqual(rows, [{ text: "outer" }, { text: "second" }]);
  });

  define("reads and isolates as it is told to", async ({ db }) => {
    const settings = await db.transaction(
      async (tx) => {
        const { rows } = await tx.query(sql`select current_setting('transaction_isolation') as isolation,
          current_setting('transaction_read_only') as "readOnly", current_schema() as schema`);
        return rows;
      },
      { isolation: "serializable", readOnly: true },
    );
    assert.deepEqual(settings, [{ isolation: "serializable", readOnly: "on", schema: db.schema }]);
    const writing = db.transaction((tx) => tx.query(sql`insert into notes (text) values ('a')`), { readOnly: true });
    await assert.rejects(writing, { code: "ERR_DATABASE_READ_ONLY" });
  });

  define("runs a transaction again that met another one, as often as it may", async ({ db }) => {
    await db.query(sql`insert into notes (text) values ('counted')`);
    let runs = 0;
    const collide = async (retries: number): Promise<void> => {
      runs = 0;
      await db.transaction(
        async (tx) => {
          await tx.query(sql`select stars from notes`);
          if (++runs === 1) await db.query(sql`update notes set stars = stars + 10`);
          await tx.query(sql`update notes set stars = stars + 1`);
        },
        { isolation: "repeatable read", retries },
      );
    };
    await assert.rejects(collide(0), { code: "ERR_DATABASE_CONFLICT", status: "aborted", retryable: true });
    assert.equal(runs, 1);
    await collide(1);
    assert.equal(runs, 2);
    assert.deepEqual((await db.query(sql`select stars from notes`)).rows, [{ stars: 21 }]);
  });

  define("refuses a query on a transaction that has ended", async ({ db }) => {
    let late: (() => Promise<unknown>) | undefined;
    await db.transaction(async (tx) => {
      late = () => tx.query(sql`select 1`);
      await tx.query(sql`select 1`);
    });
    await assert.rejects(async () => late?.());
  });

  define("says so when a failure was caught in a transaction that then was to commit", async ({ db }) => {
    const work = db.transaction(async (tx) => {
      await tx.query(sql`insert into notes (text) values ('lost')`);
      await tx.query(sql`select nothing`).catch(() => "caught");
    });
    await assert.rejects(work, { code: "ERR_DATABASE_ROLLED_BACK" });
    assert.deepEqual((await db.query(sql`select from notes`)).rows, []);
  });

  define("undoes a transaction whose session the server has ended", async ({ db }) => {
    const work = db.transaction(async (tx) => {
      await tx.query(sql`insert into notes (text) values ('lost')`);
      await tx.query(sql`select pg_terminate_backend(pg_backend_pid())`);
    });
    assertThrown(await work.catch((error: unknown) => error), { code: "ERR_DATABASE_CONNECTION_LOST" });
    assert.deepEqual((await db.query(sql`select from notes`)).rows, []);
  });
}
