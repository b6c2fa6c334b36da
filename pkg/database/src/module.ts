import { provider, type Provider, token } from "@plinth/kernel";
import type { Database } from "./database.ts";
import { type DatabaseServer, type DatabaseTokens, moduleOf } from "./define-database.ts";
import { checkMigrations, type Migration } from "./migrations/migration.ts";
import { databaseSettings } from "./settings.ts";

/** Where the app's PostgreSQL is. Replace its provider to start one in another way. */
export const databaseServer = token("database.server").of<DatabaseServer>();
/** The app's database. See it with the service's own tables by {@link Database.withTables}. */
export const database = token("database").of<Database>();
/** Every module may add some; all are applied at start, sorted by name. {@link provideMigrations} adds them. */
export const migrations = token("database.migrations").listOf<readonly Migration[]>();

const main: DatabaseTokens<"database", "database"> = {
  name: "main",
  server: databaseServer,
  database,
  migrations,
  settings: databaseSettings,
};

/**
 * Adds migrations of a module.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` for a name of another form or given twice.
 * @example export const notesModule = defineModule("notes", [provideMigrations([createNotes]), provideNotes]);
 */
export function provideMigrations(list: readonly Migration[]): Provider<"database.migrations", never, never> {
  checkMigrations(list);
  return provider({ provides: migrations, create: () => list });
}

/**
 * The app's pool and schema, its migrations at start, and its health check. Settings: {@link databaseSettings}. More databases beside it
 * are made by {@link defineDatabase}.
 */
export const databaseModule = moduleOf(main);
