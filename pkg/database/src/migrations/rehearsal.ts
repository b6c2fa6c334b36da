import { type Kysely, sql } from "kysely";
import { queriesOf } from "../queries.ts";
import { failed } from "./failure.ts";
import type { Migration } from "./migration.ts";
import type { MigrationStep, RunnerOptions } from "./runner.ts";
import { splitStatements } from "./split-statements.ts";

export interface RehearsalOptions extends Pick<RunnerOptions, "schema" | "tap"> {
  readonly direction: "up" | "down";
  readonly migrations: readonly Migration[];
}

/**
 * Runs the migrations one after the other and takes everything back, the schema as well where it had to be made. From the first one that has
 * no transaction on they are only shown. What no transaction takes back stays: the numbers that a sequence has given.
 */
export async function rehearse(
  { schema, tap, direction, migrations }: RehearsalOptions,
  tx: Kysely<unknown>,
): Promise<readonly MigrationStep[]> {
  await sql`savepoint rehearsal`.execute(tx);
  const steps: MigrationStep[] = [];
  try {
    await createSchemaIfAbsent(tx, schema);
    for (const [index, migration] of migrations.entries()) {
      const { name } = migration;
      if (migrations.slice(0, index + 1).some(({ transaction }) => transaction === false)) {
        const text = migration.sql?.[direction];
        steps.push({ name, direction, ...(text === undefined ? {} : { statements: textsOf(text) }) });
        continue;
      }
      const statements: string[] = [];
      const startedAtMs = performance.now();
      try {
        await tap.record(
          (text) => statements.push(...textsOf(text)),
          async () => migration[direction]?.(queriesOf(tx)),
        );
      } catch (error) {
        throw failed({ schema, migration, direction, isMarked: false, done: [] }, error);
      }
      steps.push({ name, direction, tookMs: Math.round(performance.now() - startedAtMs), statements });
    }
    return steps;
  } finally {
    await sql`rollback to savepoint rehearsal`.execute(tx);
  }
}

function textsOf(sql: string): readonly string[] {
  return splitStatements(sql).map(({ text }) => text);
}

async function createSchemaIfAbsent(tx: Kysely<unknown>, schema: string): Promise<void> {
  const { rows } = await sql`select 1 from pg_catalog.pg_namespace where nspname = ${schema}`.execute(tx);
  if (rows.length === 0) await sql`create schema ${sql.id(schema)}`.execute(tx);
}
