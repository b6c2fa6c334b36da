import {
  type Clock,
  type ErrorBus,
  type Logger,
  type Metrics,
  requireNumber,
  requireWhole,
  type Secret,
  type Tracing,
  withDefaults,
} from "@plinth/kernel";
import { checkMigrations, type Migration } from "./migrations/migration.ts";
import { type PoolerMode, requirePoolerMode } from "./postgres/pooler.ts";
import { requireSchemaName } from "./schema-name.ts";

/** Limits of one service's pool. Times are whole milliseconds. */
export interface DatabaseLimits {
  /** Most connections open at once, 1 to 1_000; the health check has one of its own beside them. Default 10. */
  readonly maxConnections: number;
  /** How long a query waits for a free connection, 1 or more. Default 5_000. */
  readonly acquireTimeoutMs: number;
  /** Queries that may wait for a free connection at once, 0 or more; beyond, they are refused at once. Default 1_000. */
  readonly maxWaiting: number;
  /** How long opening a connection may take: TCP, TLS, log-in and schema together, 1 or more. Default 5_000. */
  readonly connectTimeoutMs: number;
  /** A connection unused for so long is closed, 1 or more. Default 30_000. */
  readonly idleTimeoutMs: number;
  /** The server ends a statement that takes longer. 0 leaves the server's own limit. Default 30_000. */
  readonly statementTimeoutMs: number;
  /** The server ends a transaction that does nothing for so long. 0 leaves the server's own limit. Default 60_000. */
  readonly idleInTransactionTimeoutMs: number;
  /** A statement that takes as long is logged, without values. 0 logs each one. Default 500. */
  readonly slowQueryMs: number;
  /** How long migrations wait for those of another instance, 0 or more. Default 60_000. */
  readonly migrationLockTimeoutMs: number;
}

export interface DatabaseOptions extends Partial<DatabaseLimits> {
  /** `postgres://user:password@host:5432/database`. */
  readonly url: string | Secret;
  /** The service's own schema: what every unqualified name means, on every connection. */
  readonly schema: string;
  /** Whether {@link Database.connect} creates the schema when it is absent. Default true. */
  readonly createSchema?: boolean;
  /** Of all modules; see {@link Migration}. Default none. */
  readonly migrations?: readonly Migration[];
  /** Whether {@link Database.connect} applies the pending ones. Default true; otherwise call {@link Database.migrate}. */
  readonly migrateOnConnect?: boolean;
  /** What the server shows as `application_name`. Default `plinth:` and the schema. */
  readonly applicationName?: string;
  /**
   * What stands between this service and the server. `session`: a pooler that gives each connection a session of its own, as PgBouncer
   * does with pool_mode session. `transaction`: one that gives each transaction another session. Default `none`.
   */
  readonly pooler?: PoolerMode;
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly tracing?: Tracing;
  readonly metrics?: Metrics;
  /** Told of connections that were lost while nobody used them. */
  readonly errors?: ErrorBus;
}

export const databaseDefaults: DatabaseLimits = Object.freeze({
  maxConnections: 10,
  acquireTimeoutMs: 5_000,
  maxWaiting: 1_000,
  connectTimeoutMs: 5_000,
  idleTimeoutMs: 30_000,
  statementTimeoutMs: 30_000,
  idleInTransactionTimeoutMs: 60_000,
  slowQueryMs: 500,
  migrationLockTimeoutMs: 60_000,
});

/** The longest delay a timer takes, about 24.8 days. */
const maxTimerMs = 2_147_483_647;

/** @throws {@link OptionError} `ERR_OPTION_RANGE`, beginning with the option's name. */
export function checkedLimits(options: DatabaseOptions): DatabaseLimits {
  requireSchemaName(options.schema);
  requirePoolerMode(options.pooler ?? "none");
  checkMigrations(options.migrations ?? []);
  const limits = withDefaults(databaseDefaults, options);
  requireWhole("maxConnections", limits.maxConnections, { min: 1, max: 1_000 });
  requireWhole("maxWaiting", limits.maxWaiting, { min: 0 });
  for (const name of ["acquireTimeoutMs", "connectTimeoutMs", "idleTimeoutMs"] as const) {
    requireWhole(name, limits[name], { min: 1, max: maxTimerMs });
  }
  for (const name of ["statementTimeoutMs", "idleInTransactionTimeoutMs", "migrationLockTimeoutMs"] as const) {
    requireWhole(name, limits[name], { min: 0, max: maxTimerMs });
  }
  requireNumber("slowQueryMs", limits.slowQueryMs, { min: 0 });
  return limits;
}
