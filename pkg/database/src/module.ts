import { resolve } from "node:path";
import {
  appInfo,
  clock,
  defineModule,
  errorBus,
  healthChecks,
  logger,
  metrics,
  provider,
  type Provider,
  Secret,
  token,
  tracing,
} from "@plinth/kernel";
import { type Database, openDatabase } from "./database.ts";
import { checkMigrations, type Migration } from "./migrations/migration.ts";
import { schemaNameFor } from "./schema-name.ts";
import { databaseSettings } from "./settings.ts";

/** Where the app's PostgreSQL is. Replace its provider to start one in another way. */
export interface DatabaseServer {
  readonly url: Secret;
  stop(): Promise<void>;
}

export const databaseServer = token("database.server").of<DatabaseServer>();
/** The app's database. See it with the service's own tables by {@link Database.withTables}. */
export const database = token("database").of<Database>();
/** Every module may add some; all are applied at start, sorted by name. {@link provideMigrations} adds them. */
export const migrations = token("database.migrations").listOf<readonly Migration[]>();

/**
 * Adds migrations of a module.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` for a name of another form or given twice.
 * @example export const notesModule = defineModule("notes", [provideMigrations([createNotes]), provideNotes]);
 */
export function provideMigrations(list: readonly Migration[]): Provider<"database.migrations", never> {
  checkMigrations(list);
  return provider({ provides: migrations, create: () => list });
}

const provideServer = provider({
  provides: databaseServer,
  needs: { settings: databaseSettings, log: logger },
  create: async ({ settings: { url, embeddedDataDir }, log }, { signal }) => {
    if (url) return { url, stop: async () => {} };
    // Loaded only here: a production image has neither the code nor the binaries.
    const { startEmbeddedPostgres } = await import("./embedded/index.ts");
    const server = await startEmbeddedPostgres({
      dataDir: resolve(embeddedDataDir),
      log: log.named("database.embedded"),
      signal,
    });
    return { url: new Secret(server.url), stop: () => server.stop() };
  },
  stop: (server) => server.stop(),
  limits: { createMs: 60_000, stopMs: 20_000 }, // the first start on a machine copies and initialises
});

/** One pool for the app: open, checked and migrated before anything that needs it, closed after it. */
const provideDatabase = provider({
  provides: database,
  needs: {
    clock,
    errors: errorBus,
    info: appInfo,
    lists: migrations,
    log: logger,
    metrics,
    server: databaseServer,
    settings: databaseSettings,
    tracing,
  },
  create: ({ settings, server, info, lists, ...seams }) =>
    openDatabase({
      ...settings,
      ...seams,
      log: seams.log.named("database"),
      url: server.url,
      schema: settings.schema ?? schemaNameFor(info.name),
      applicationName: info.instanceId,
      migrations: lists.flat(),
      migrateOnConnect: settings.migrateOnStart,
    }),
  start: (db, { signal }) => db.connect({ signal }),
  stop: (db, { signal }) => db.close({ signal }),
  limits: { startMs: 60_000 }, // migrations, and waiting for another instance that runs them
});

/** Turns back after two successes: a server that recovers may come and go for a while. */
const provideHealthCheck = provider({
  provides: healthChecks,
  needs: { db: database, settings: databaseSettings },
  create: ({ db, settings: { checkIntervalMs, checkTimeoutMs } }) => ({
    name: "database",
    critical: true,
    intervalMs: checkIntervalMs,
    timeoutMs: checkTimeoutMs,
    successesToFlip: 2,
    run: ({ signal }) => db.health({ signal }),
  }),
});

/** The app's pool and schema, its migrations at start, and its health check. Settings: {@link databaseSettings}. */
export const databaseModule = defineModule("database", [provideServer, provideDatabase, provideHealthCheck]);
