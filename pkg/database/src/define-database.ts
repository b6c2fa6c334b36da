import { resolve } from "node:path";
import {
  appInfo,
  appTasks,
  clock,
  defineModule,
  errorBus,
  healthChecks,
  type ListToken,
  type Logger,
  logger,
  metrics,
  type Module,
  OptionError,
  provider,
  type Provider,
  Secret,
  type SettingsToken,
  type Token,
  token,
  tracing,
  type ValueOf,
} from "@plinth/kernel";
import { type Database, openDatabase } from "./database.ts";
import { checkMigrations, type Migration } from "./migrations/migration.ts";
import { migrationsTask } from "./migrations/task.ts";
import { schemaNameFor } from "./schema-name.ts";
import { databaseSettings } from "./settings.ts";

/** Where a PostgreSQL is. Replace its provider to start one in another way. */
export interface DatabaseServer {
  readonly url: Secret;
  stop(): Promise<void>;
}

type Settings = typeof databaseSettings extends SettingsToken<infer T> ? T : never;

/** What one database of an app is known by. */
export interface DatabaseTokens<Base extends string, Section extends string> {
  /** `main`, or what the app calls it. */
  readonly name: string;
  /** Where it is. */
  readonly server: Token<DatabaseServer, `${Base}.server`>;
  /** See it with the service's own tables by {@link Database.withTables}. */
  readonly database: Token<Database, Base>;
  /** Every module may add some; all are applied at start, sorted by name. `provideMigrations` adds them. */
  readonly migrations: ListToken<readonly Migration[], `${Base}.migrations`>;
  readonly settings: SettingsToken<Settings, Section>;
}

const namePattern = /^[a-z][a-z0-9]{0,29}$/;

/**
 * Another database of the app, beside the main one of {@link databaseModule}: with a pool, limits, schema, migrations, health check and
 * metrics of its own. Tokens, module and health check are called `database.` and the name; its settings are the section `database-` and
 * the name, so that its variables begin, for `reports`, with `PLINTH_DATABASE_REPORTS_`. The schema is the app's name, `_` and the name
 * unless the settings say otherwise.
 *
 * @param name - Lower-case letters and digits, at most 30; not `main`, and no word with which a key of the section `database` begins.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` for another name.
 * @example
 * export const reports = defineDatabase("reports");
 * const modules = [coreModule, databaseModule, reports.module, reportsModule]; // which needs { db: reports.database }
 */
export function defineDatabase<const Name extends string>(name: Name) {
  if (!namePattern.test(name) || name === "main" || isTaken(name)) {
    throw new OptionError(
      "ERR_OPTION_RANGE",
      "invalid_argument",
      `name must be 1 to 30 lower-case letters and digits, not "main", and no word that keys of the section database begin with, not ${JSON.stringify(name.slice(0, 80))}`,
    );
  }
  const tokens: DatabaseTokens<`database.${Name}`, `database-${Name}`> = {
    name,
    server: token(`database.${name}.server`).of<DatabaseServer>(),
    database: token(`database.${name}`).of<Database>(),
    migrations: token(`database.${name}.migrations`).listOf<readonly Migration[]>(),
    settings: settingsLike(databaseSettings, `database-${name}`),
  };
  const provideMigrations = (list: readonly Migration[]): Provider<`database.${Name}.migrations`, never, never> => {
    checkMigrations(list);
    return provider({ provides: tokens.migrations, create: () => list });
  };
  return { ...tokens, provideMigrations, module: moduleOf(tokens) };
}

/** `PLINTH_DATABASE_TLS_MODE` is that of the main database already. */
function isTaken(name: string): boolean {
  const root = databaseSettings.schema["~standard"].jsonSchema?.input({
    target: "draft-2020-12",
    libraryOptions: { unrepresentable: "any" },
  });
  const keys = Object.keys(typeof root?.properties === "object" && root.properties !== null ? root.properties : {});
  return keys.some((key) => key.replaceAll(/[A-Z].*/g, "") === name);
}

function settingsLike<T, const Section extends string>(
  { schema, reloadable }: SettingsToken<T>,
  section: Section,
): SettingsToken<T, Section> {
  return Object.freeze<SettingsToken<T, Section>>({ kind: "settings", section, schema, reloadable });
}

/** What a database needs of the kernel. */
type Seams = (
  | typeof appInfo
  | typeof clock
  | typeof errorBus
  | typeof logger
  | typeof metrics
  | typeof tracing
)["name"];
type Lists = (typeof appTasks | typeof healthChecks)["name"];

interface Opened {
  readonly settings: Settings;
  readonly server: DatabaseServer;
  readonly info: ValueOf<typeof appInfo>;
  readonly lists: readonly (readonly Migration[])[];
  readonly log: Logger;
}

/** Wiring alone: everything works by {@link openDatabase} without it. */
export function moduleOf<Base extends string, Section extends string>(
  tokens: DatabaseTokens<Base, Section>,
): Module<Base | `${Base}.server` | Lists, Seams> {
  const { name, parts } = wire(tokens);
  return { kind: "module", name, parts };
}

function wire(tokens: DatabaseTokens<string, string>): Module {
  const { name, server, database, migrations, settings } = tokens;
  const isMain = name === "main";
  const label = isMain ? "database" : `database.${name}`;
  /** What the app's database and the one that `plinth migrate` opens have in common. */
  const commonOf = ({ settings: own, server: { url }, info, lists, log }: Opened) => ({
    ...own,
    name,
    log: log.named(label),
    url,
    schema: own.schema ?? schemaNameFor(isMain ? info.name : `${info.name}-${name}`),
    migrations: lists.flat(),
  });

  const provideServer = provider({
    provides: server,
    needs: { settings, log: logger },
    create: async ({ settings: { url, embeddedDataDir }, log }, { signal }) => {
      if (url) return { url, stop: async () => {} };
      // Loaded only here: a production image has neither the code nor the binaries.
      const { startEmbeddedPostgres } = await import("./embedded/index.ts");
      const embedded = await startEmbeddedPostgres({
        dataDir: resolve(embeddedDataDir),
        log: log.named(`${label}.embedded`),
        signal,
      });
      return { url: new Secret(embedded.url), stop: () => embedded.stop() };
    },
    stop: (running) => running.stop(),
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
      server,
      settings,
      tracing,
    },
    create: ({ settings: own, server: where, info, lists, ...seams }) =>
      openDatabase({
        ...seams,
        ...commonOf({ settings: own, server: where, info, lists, log: seams.log }),
        applicationName: info.instanceId,
        migrateOnConnect: own.migrateOnStart,
      }),
    start: (db, { signal }) => db.connect({ signal }),
    stop: (db, { signal }) => db.close({ signal }),
    limits: { startMs: 120_000 }, // waiting for the server, for another instance that migrates, and migrating; the whole start has its own
  });

  /** Turns back after two successes: a server that recovers may come and go for a while. */
  const provideHealthCheck = provider({
    provides: healthChecks,
    needs: { db: database, settings },
    create: ({ db, settings: { checkIntervalMs, checkTimeoutMs } }) => ({
      name: label,
      critical: true,
      intervalMs: checkIntervalMs,
      timeoutMs: checkTimeoutMs,
      successesToFlip: 2,
      run: ({ signal }) => db.health({ signal }),
    }),
  });

  /** For `plinth migrate`. Nothing of it is made when the app runs. */
  const provideTask = provider({
    provides: appTasks,
    needs: { clock, info: appInfo, lists: migrations, log: logger, server, settings },
    create: ({ clock: time, ...given }) =>
      migrationsTask(name, () =>
        openDatabase({
          ...commonOf(given),
          clock: time,
          applicationName: `plinth migrate ${given.info.name}`,
          maxConnections: 1,
          minConnections: 0,
          migrateOnConnect: false,
        }),
      ),
  });

  return defineModule(label, [provideServer, provideDatabase, provideHealthCheck, provideTask]);
}
