import { type Kysely, sql } from "kysely";
import type { Tables } from "./open.ts";

type Db = Kysely<Tables>;

export async function select(db: Db, id: number): Promise<string> {
  const row = await db.selectFrom("notes").select(["id", "text", "stars"]).where("id", "=", id).executeTakeFirst();
  return row?.text ?? "";
}

/** What stands in the transaction. */
export async function move(tx: Db, id: number): Promise<void> {
  const moved = await tx.insertInto("moves").values({ note: id }).returning("id").executeTakeFirstOrThrow();
  await tx
    .updateTable("notes")
    .set((row) => ({ stars: row("stars", "+", 1) }))
    .where("id", "=", id)
    .execute();
  await tx.deleteFrom("moves").where("id", "=", moved.id).execute();
}

export async function hold(db: Db): Promise<void> {
  await sql`select pg_sleep(0.001)`.execute(db);
}
