import { sql } from "kysely";
import { type Database, openDatabase } from "../database.ts";
import { ensureHistory } from "../migrations/history.ts";
import { inOrder, type Migration } from "../migrations/migration.ts";
import type { DatabaseOptions } from "../options.ts";
import { asAdmin } from "./admin.ts";

/** How often the same migrations were asked for in this process, and what they send to the server, once that is known. */
interface Known {
  uses: number;
  /** Undefined: not looked at yet; null: they must be run. */
  text: string | null | undefined;
}

const numbers = new WeakMap<Migration["up"], number>();
const known = new Map<string, Known>();
let last = 0;

/**
 * Makes a schema with all that the migrations make in it, in one message to the server: they have run before in this process, and what they sent
 * is sent again. Not for those that have no transaction, send values apart from the text, or name their schema: what they do may hang on it.
 *
 * @returns Whether it was made; else the migrations are to be run.
 */
export async function replayMigrations(options: DatabaseOptions): Promise<boolean> {
  const { schema, migrations = [], createSchema = true, migrateOnConnect = true, pooler = "none" } = options;
  if (migrations.length === 0 || !createSchema || !migrateOnConnect || pooler !== "none") return false;
  const entry = knownOf(migrations);
  entry.uses++;
  if (entry.uses < 2 || entry.text === null) return false;
  if (entry.text === undefined) entry.text = await textOf(options);
  const { text } = entry;
  if (text === null) return false;
  await asAdmin(options, (db) => replay(db.withTables<unknown>(), schema, text, migrations));
  return true;
}

function knownOf(migrations: readonly Migration[]): Known {
  const key = inOrder(migrations)
    .map(({ name, up }) => {
      const number = numbers.get(up) ?? ++last;
      numbers.set(up, number);
      return `${name} ${number}`;
    })
    .join("\n");
  const entry = known.get(key) ?? { uses: 0, text: undefined };
  known.set(key, entry);
  return entry;
}

async function textOf({ metrics: _metrics, ...options }: DatabaseOptions): Promise<string | null> {
  const db = openDatabase(options);
  try {
    const steps = await db.migrate({ dryRun: true });
    if (steps.some(({ tookMs }) => tookMs === undefined)) return null;
    const text = steps.flatMap(({ statements = [] }) => statements).join(";\n");
    return /\$\d/.test(text) || text.includes(options.schema) ? null : text;
  } catch {
    return null; // whoever runs them is told why
  } finally {
    await db.close();
  }
}

async function replay(
  db: Database<unknown>,
  schema: string,
  text: string,
  migrations: readonly Migration[],
): Promise<void> {
  await db.transaction(async (tx) => {
    const own = sql.id(schema);
    await tx.query(sql`create schema ${own}; set local search_path = ${own};\n${sql.raw(text)}`);
    await ensureHistory(tx.kysely, schema);
    const rows = migrations.map(({ name, checksum = null }) => sql`(${name}, ${checksum}, 0)`);
    await tx.query(
      sql`insert into ${sql.id(schema, "plinth_migrations")} (name, checksum, took_ms) values ${sql.join(rows)}`,
    );
  });
}
