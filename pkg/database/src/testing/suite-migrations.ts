import assert from "node:assert/strict";
import { sql } from "kysely";
import type { Migration } from "../migrations/migration.ts";
import type { Define } from "./suite-context.ts";

const createTags: Migration = {
  name: "0001_create_tags",
  up: (tx) => tx.query(sql`create table tags (name text)`),
  down: (tx) => tx.query(sql`drop table tags`),
};

/** What migrations do. */
export function migrating(define: Define): void {
  define("applies a migration once, however many ask for it at once, and takes it back", async ({ open }) => {
    await using db = await open({ migrations: [createTags], migrateOnConnect: false });
    const done = await Promise.all([1, 2, 3].map(() => db.migrate()));
    assert.deepEqual(
      done.flat().map(({ name }) => name),
      ["0001_create_tags"],
    );
    assert.deepEqual((await db.query(sql`select name from tags`)).rows, []);
    assert.partialDeepStrictEqual(await db.migrationStatus(), [{ name: "0001_create_tags", status: "applied" }]);
    await db.rollback();
    await assert.rejects(db.query(sql`select name from tags`), { sqlState: "42P01" });
  });

  define("keeps nothing of a migration that fails, and names it", async ({ open }) => {
    const broken: Migration = {
      name: "0002_break",
      up: async (tx) => {
        await tx.query(sql`create table half (n int)`);
        await tx.query(sql`select nothing`);
      },
    };
    await using db = await open({ migrations: [createTags, broken], migrateOnConnect: false });
    await assert.rejects(db.migrate(), { code: "ERR_DATABASE_MIGRATION", message: /0002_break/ });
    await assert.rejects(db.query(sql`select from half`), { sqlState: "42P01" });
    assert.deepEqual((await db.query(sql`select name from tags`)).rows, []);
  });
}
