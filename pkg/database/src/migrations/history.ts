import { type Kysely, sql } from "kysely";
import { z } from "zod";
import type { Migration } from "./migration.ts";

/** One row of `plinth_migrations`. */
export interface AppliedMigration {
  readonly name: string;
  /** Null where there was none when it was applied. */
  readonly checksum: string | null;
  readonly appliedAt: string;
  readonly tookMs: number | null;
  /** It has no transaction, and has begun and not ended. */
  readonly dirty: boolean;
}

type Db = Kysely<unknown>;

const tableOf = (schema: string) => sql.id(schema, "plinth_migrations");

/** `absent`, also when the schema is; `old`: made by the kysely migrator that was here before. */
export async function formOfHistory(db: Db, schema: string): Promise<"absent" | "old" | "present"> {
  const { rows } = await sql<{ column: string }>`
    select a.attname as column from pg_catalog.pg_attribute a
    join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${schema} and c.relname = 'plinth_migrations' and a.attnum > 0 and not a.attisdropped`.execute(
    db,
  );
  if (rows.length === 0) return "absent";
  return rows.some(({ column }) => column === "dirty") ? "present" : "old";
}

/** Creates the table, or takes over one of the old form. Call it in a transaction, under the lock. */
export async function ensureHistory(db: Db, schema: string): Promise<void> {
  const form = await formOfHistory(db, schema);
  if (form === "present") return;
  const table = tableOf(schema);
  if (form === "absent") {
    await sql`create table ${table} (name text primary key, checksum text, applied_at timestamptz not null default clock_timestamp(),
      took_ms integer, dirty boolean not null default false)`.execute(db);
    return;
  }
  await sql`alter table ${table} alter column name type text, add column checksum text, add column applied_at timestamptz,
    add column took_ms integer, add column dirty boolean not null default false`.execute(db);
  await sql`update ${table} set applied_at = "timestamp"::timestamptz`.execute(db);
  await sql`alter table ${table} drop column "timestamp", alter column applied_at set not null,
    alter column applied_at set default clock_timestamp()`.execute(db);
  await sql`drop table if exists ${sql.id(schema, "plinth_migrations_lock")}`.execute(db);
}

const rowSchema = z.object({
  name: z.string(),
  checksum: z.string().nullable().default(null),
  applied_at: z.string().optional(),
  timestamp: z.string().optional(),
  took_ms: z.number().nullable().default(null),
  dirty: z.boolean().default(false),
});

/** What was applied; nothing where there is no table yet. Reads either form, also while somebody takes it over. */
export async function readHistory(db: Db, schema: string): Promise<readonly AppliedMigration[]> {
  if ((await formOfHistory(db, schema)) === "absent") return [];
  const { rows } = await sql<{ row: unknown }>`select to_jsonb(history) as row from ${tableOf(schema)} history`.execute(
    db,
  );
  return rows.map(({ row }) => {
    const { name, checksum, dirty, ...rest } = rowSchema.parse(row);
    const at = new Date(rest.applied_at ?? rest.timestamp ?? 0);
    return { name, checksum, appliedAt: at.toISOString(), tookMs: rest.took_ms, dirty };
  });
}

/** Notes that one was applied, or is about to be. */
export async function noteApplied(
  db: Db,
  schema: string,
  { name, checksum = null }: Pick<Migration, "name"> & { readonly checksum?: string | null },
  facts: { readonly tookMs?: number; readonly dirty: boolean },
): Promise<void> {
  const tookMs = facts.tookMs === undefined ? null : Math.round(facts.tookMs);
  await sql`insert into ${tableOf(schema)} (name, checksum, took_ms, dirty) values (${name}, ${checksum}, ${tookMs}, ${facts.dirty})
    on conflict (name) do update set took_ms = excluded.took_ms, dirty = excluded.dirty`.execute(db);
}

/** Notes that one was taken back. */
export async function noteUndone(db: Db, schema: string, name: string): Promise<void> {
  await sql`delete from ${tableOf(schema)} where name = ${name}`.execute(db);
}
