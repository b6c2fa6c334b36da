import { messageOf, OptionError, runInContext } from "@plinth/kernel";
import type { Kysely } from "kysely";
import { type Migration as KyselyMigration, Migrator } from "kysely/migration";
import { DatabaseError } from "./errors.ts";
import { type Queries, queriesOf } from "./queries.ts";

/** One step of a service's schema. Once it has run anywhere it is never edited: a later migration changes what it did. */
export interface Migration {
  /** Identity and order: migrations run sorted by name. Letters, digits, `_`, `-` and `.`, at most 200. */
  readonly name: string;
  /** Runs inside one transaction with the other pending migrations; unqualified names are in the service's schema. */
  readonly up: (tx: Queries) => Promise<unknown>;
  /** Takes it back. Nothing runs it yet by itself. */
  readonly down?: (tx: Queries) => Promise<unknown>;
}

const namePattern = /^[A-Za-z0-9_.-]{1,200}$/;

/** @throws {@link OptionError} `ERR_OPTION_RANGE` for a name of another form or given twice. */
export function checkMigrations(migrations: readonly Migration[]): void {
  const seen = new Set<string>();
  for (const { name } of migrations) {
    if (namePattern.test(name) && !seen.has(name)) {
      seen.add(name);
      continue;
    }
    const problem = seen.has(name) ? "is given twice" : "must be 1 to 200 letters, digits, _, - or .";
    throw new OptionError(
      "ERR_OPTION_RANGE",
      "invalid_argument",
      `migrations: the name ${JSON.stringify(name.slice(0, 200))} ${problem}`,
    );
  }
}

/**
 * Applies what has not been applied, under a lock of the database: of several processes one does it and the others wait.
 *
 * @param kysely - On a connection without a statement limit: waiting for the lock is one statement.
 * @returns The names that were applied now.
 * @throws {@link DatabaseError} `ERR_DATABASE_MIGRATION`, naming the migration that failed; nothing of this run stays then.
 */
export async function runMigrations(
  kysely: Kysely<unknown>,
  schema: string,
  migrations: readonly Migration[],
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  checkMigrations(migrations);
  let running: string | undefined;
  const named = migrations.map(({ name, up, down }): [string, KyselyMigration] => {
    const step = (run: Migration["up"]) => async (db: Kysely<unknown>) => {
      running = name;
      await run(queriesOf(db));
      running = undefined;
    };
    return [name, { up: step(up), ...(down ? { down: step(down) } : {}) }];
  });
  const migrator = new Migrator({
    db: kysely,
    provider: { getMigrations: async () => Object.fromEntries(named) },
    migrationTableSchema: schema,
    migrationTableName: "plinth_migrations",
    migrationLockTableName: "plinth_migrations_lock",
    nameComparator: (a, b) => (a < b ? -1 : Number(a > b)),
  });
  const context = signal ? { signal } : {};
  const { error, results = [] } = await runInContext(context, () => migrator.migrateToLatest());
  if (error === undefined) return results.map(({ migrationName }) => migrationName);
  const where = running === undefined ? "migrations" : `migration ${running}`;
  throw new DatabaseError(
    "ERR_DATABASE_MIGRATION",
    "failed_precondition",
    `${where} of schema "${schema}" failed, and nothing of this run was kept: ${reasonOf(error)}`,
    { cause: error },
  );
}

function reasonOf(error: unknown): string {
  const told = error instanceof DatabaseError && error.cause !== undefined ? `: ${messageOf(error.cause)}` : "";
  return `${messageOf(error)}${told}`;
}
