import assert from "node:assert/strict";
import { sql } from "kysely";
import { assertThrown } from "./until.ts";
import type { Define } from "./suite-context.ts";

/** What queries do: names, values, sessions. */
export function querying(define: Define): void {
  define(
    "means its own schema by unqualified names, on each connection and however a query is written",
    async ({ db }) => {
      await db.kysely.insertInto("notes").values({ text: "mine" }).execute();
      const schemas = await Promise.all(
        Array.from({ length: 5 }, () =>
          db.query(sql<{ schema: string }>`select current_schema() as schema, pg_sleep(0.01)`),
        ),
      );
      for (const { rows } of schemas) assert.equal(rows[0]?.schema, db.schema);
      const expected = [{ text: "mine" }];
      assert.deepEqual(await db.kysely.selectFrom("notes").select("text").execute(), expected);
      assert.deepEqual(
        await db.kysely.selectFrom("notes as n").select("n.text").orderBy("n.id", "desc").execute(),
        expected,
      );
      assert.deepEqual((await db.query(sql`select text from notes`)).rows, expected);
      assert.deepEqual((await db.query(sql`select text from ${sql.table("notes")}`)).rows, expected);
      const byFragment = db.kysely
        .selectFrom("notes")
        .select("text")
        .where(sql<boolean>`exists (select from notes)`);
      assert.deepEqual(await byFragment.execute(), expected);
      const byWith = db.kysely
        .with("own", (w) => w.selectFrom("notes").select("text"))
        .selectFrom("own")
        .selectAll();
      assert.deepEqual(await byWith.execute(), expected);
      await db.transaction(async (tx) => {
        assert.deepEqual((await tx.query(sql`select text from notes`)).rows, expected);
        assert.deepEqual(await tx.kysely.selectFrom("notes").select("text").execute(), expected);
      });
    },
  );

  define("keeps triggers in its schema that do not say in which they write", async ({ db }) => {
    for (const text of ["by a builder", "by hand", "in a transaction"]) {
      await db.kysely.insertInto("notes").values({ text }).execute();
    }
    await db.kysely.deleteFrom("notes").where("text", "=", "by a builder").execute();
    await db.query(sql`delete from notes where text = ${"by hand"}`);
    await db.transaction((tx) => tx.kysely.deleteFrom("notes").execute());
    const { rows } = await db.query(sql`select what from audit order by id`);
    assert.deepEqual(rows, [{ what: "by a builder" }, { what: "by hand" }, { what: "in a transaction" }]);
  });

  define("tells how many rows a statement touched, and gives those that it returns", async ({ db }) => {
    const inserted = await db.query(sql`insert into notes (text) values ('a'), ('b') returning text`);
    assert.deepEqual(inserted, { rows: [{ text: "a" }, { text: "b" }], affectedRows: 2 });
    assert.equal((await db.query(sql`update notes set stars = 1 where text = 'a'`)).affectedRows, 1);
    assert.equal((await db.query(sql`select from notes`)).affectedRows, 0);
    const updated = await db.kysely.updateTable("notes").set({ stars: 2 }).executeTakeFirst();
    assert.equal(updated.numUpdatedRows, 2n);
  });

  define("sends values apart from the text, whatever stands in them", async ({ db }) => {
    const text = `'; drop table notes; -- "$1" \\ \u00e9 \ud83d\udc18`;
    await db.query(sql`insert into notes (text) values (${text})`);
    const found = await db.kysely.selectFrom("notes").select("text").where("text", "=", text).executeTakeFirst();
    assert.equal(found?.text, text);
  });

  define("lets nobody inherit what a statement would change of a session", async ({ db, pooler }) => {
    const changed = sql`set search_path to pg_catalog`;
    if (pooler === "transaction") {
      await assert.rejects(db.query(changed), { code: "ERR_DATABASE_UNSUPPORTED", message: /set local/ });
      await assert.rejects(
        db.transaction((tx) => tx.query(changed)),
        { code: "ERR_DATABASE_UNSUPPORTED" },
      );
    } else await db.query(changed);
    await db.transaction((tx) => tx.query(sql`set local search_path to pg_catalog`));
    for (let time = 0; time < 3; time++) assert.deepEqual((await db.query(sql`select text from notes`)).rows, []);
  });

  define("goes on after the server has ended a connection", async ({ db }) => {
    await db.query(sql`insert into notes (text) values ('kept')`);
    // Ended by itself, so that nobody else is: the server's number of a session is not told through a pooler.
    const ended = await db.query(sql`select pg_terminate_backend(pg_backend_pid())`).then(
      () => assert.fail("it should have been ended"),
      (error: unknown) => error,
    );
    assertThrown(ended, { code: "ERR_DATABASE_CONNECTION_LOST", status: "unavailable", retryable: true });
    assert.deepEqual((await db.query(sql`select text from notes`)).rows, [{ text: "kept" }]);
    assert.deepEqual(await db.kysely.selectFrom("notes").select("text").execute(), [{ text: "kept" }]);
  });

  define("answers when it is asked for its health", ({ db }) => db.health());
}
