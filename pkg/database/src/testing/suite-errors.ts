import assert from "node:assert/strict";
import { inspect } from "node:util";
import { sql } from "kysely";
import type { Define } from "./suite-context.ts";
import { assertThrown } from "./until.ts";

/** What failures are called. */
export function failing(define: Define): void {
  define("names what a statement broke, and nobody's values", async ({ db }) => {
    const secret = "value-of-a-row";
    await db.query(sql`insert into notes (text) values (${secret})`);
    const kept = (statement: Promise<unknown>, expected: object): Promise<void> =>
      assert.rejects(statement, (error: unknown) => {
        assert.doesNotMatch(inspect(error, { depth: 10 }), new RegExp(secret));
        assertThrown(error, expected);
        return true;
      });
    await kept(db.query(sql`insert into notes (text) values (${secret})`), {
      code: "ERR_DATABASE_UNIQUE",
      status: "already_exists",
      retryable: false,
      sqlState: "23505",
      table: "notes",
      columns: ["text"],
      constraint: "notes_text_key",
    });
    await kept(
      db.kysely
        .insertInto("notes")
        .values({ text: `${secret}-2`, parent: 999 })
        .execute(),
      {
        code: "ERR_DATABASE_FOREIGN_KEY",
        status: "failed_precondition",
      },
    );
    await kept(db.query(sql`insert into notes (text, stars) values (${`${secret}-3`}, -1)`), {
      code: "ERR_DATABASE_CHECK",
      status: "invalid_argument",
    });
    await kept(db.query(sql`insert into notes (text) values (null)`), {
      code: "ERR_DATABASE_NOT_NULL",
      column: "text",
    });
    await kept(db.query(sql`select ${secret}::int`), { code: "ERR_DATABASE_QUERY", status: "internal" });
    await kept(db.query(sql`select nothing`), { code: "ERR_DATABASE_QUERY", sqlState: "42703" });
    assert.equal((await db.query(sql`select from notes`)).rows.length, 1);
  });

  define("takes a lock that cannot be had for a conflict", async ({ db }) => {
    await db.query(sql`insert into notes (text) values ('held')`);
    await db.transaction(async (tx) => {
      await tx.query(sql`select from notes for update`);
      await assert.rejects(db.query(sql`select from notes for update nowait`), { code: "ERR_DATABASE_CONFLICT" });
    });
  });
}
