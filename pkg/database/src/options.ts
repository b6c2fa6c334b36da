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
import type { PasswordSource } from "./postgres/credentials.ts";
import type { Lookup } from "./postgres/names.ts";
import type { DatabaseTlsOptions } from "./postgres/tls.ts";
import { requireSchemaName } from "./schema-name.ts";

/** Limits of one service's pool. Times are whole milliseconds. */
export interface DatabaseLimits {
  /** Connections that are kept open once the first one is, also unused; 0 to `maxConnections`. Default 0. */
  readonly minConnections: number;
  /** Most connections open at once, 1 to 1_000; the health check has one of its own beside them. Default 10. */
  readonly maxConnections: number;
  /** How long a query waits for a free connection, 1 or more. Default 5_000. */
  readonly acquireTimeoutMs: number;
  /** Queries that may wait for a free connection at once, 0 or more; beyond, they are refused at once. Default 1_000. */
  readonly maxWaiting: number;
  /**
   * How long opening a connection may take: name, TCP, TLS, log-in and schema together, 1 or more. Of several hosts each gets an even
   * share of what is left. Default 5_000.
   */
  readonly connectTimeoutMs: number;
  /** A connection unused for so long is closed, 1 or more. Default 30_000. */
  readonly idleTimeoutMs: number;
  /**
   * A connection is replaced at this age, a tenth of it earlier or later by chance, so that never all are at once; one in use when it
   * is given back. 0 for never. Default 1_800_000.
   */
  readonly maxLifetimeMs: number;
  /**
   * A connection that is held for longer by one user is told of, once: a warning with the label of whoever took it, and outside of
   * production with the stack. 0 for never. Default 60_000.
   */
  readonly maxHeldMs: number;
  /**
   * For how long {@link Database.connect} tries again while the server cannot be reached, in milliseconds; 0 tries once. A wrong
   * password, certificate, schema or right is told at once. Default 30_000.
   */
  readonly connectWaitMs: number;
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
  /**
   * `postgres://user:password@host:5432/database`. Several hosts, `a:5432,b:5432`, are tried in their order, the one in use first.
   * Parameters as libpq has them: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `target_session_attrs`, `application_name`, `options`.
   */
  readonly url: string | Secret;
  /** Of several hosts: one that takes writes, so that a standby is passed over, or whichever answers. Default `writable`. */
  readonly hosts?: "writable" | "any" | undefined;
  /** Asked for each new connection, and once more when the server refuses what it gave. Wins over `passwordFile` and the URL. */
  readonly password?: PasswordSource;
  /** Read for each new connection, without the line break at its end; wins over the URL's password. */
  readonly passwordFile?: string | undefined;
  /** Encryption. Default: to any other machine, to a server whose certificate is trusted and has its name. */
  readonly tls?: DatabaseTlsOptions | undefined;
  /** How a host's name becomes addresses, asked for each new connection. Default: the system's resolver. */
  readonly lookup?: Lookup;
  /**
   * Whether the text of a statement whose trace is sampled ends in a comment that names it, as sqlcommenter writes it: the server's own log and
   * `pg_stat_activity` lead to the trace then. Default false: it makes each such text another one, also for `pg_stat_statements` of old servers.
   */
  readonly traceComments?: boolean;
  /** Which of the app's databases it is, in metrics and logs. Default `main`. */
  readonly name?: string | undefined;
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
  /** Source of jitter in [0, 1), for lifetimes and the time between attempts to connect. Default `Math.random`. */
  readonly random?: () => number;
  readonly clock?: Clock;
  readonly log?: Logger;
  readonly tracing?: Tracing;
  readonly metrics?: Metrics;
  /** Told of connections that were lost while nobody used them. */
  readonly errors?: ErrorBus;
}

export const databaseDefaults: DatabaseLimits = Object.freeze({
  minConnections: 0,
  maxConnections: 10,
  acquireTimeoutMs: 5_000,
  maxWaiting: 1_000,
  connectTimeoutMs: 5_000,
  idleTimeoutMs: 30_000,
  maxLifetimeMs: 1_800_000,
  maxHeldMs: 60_000,
  connectWaitMs: 30_000,
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
  requireWhole("minConnections", limits.minConnections, { min: 0, max: limits.maxConnections });
  requireWhole("maxWaiting", limits.maxWaiting, { min: 0 });
  for (const name of ["acquireTimeoutMs", "connectTimeoutMs", "idleTimeoutMs"] as const) {
    requireWhole(name, limits[name], { min: 1, max: maxTimerMs });
  }
  for (const name of [
    "statementTimeoutMs",
    "idleInTransactionTimeoutMs",
    "migrationLockTimeoutMs",
    "maxLifetimeMs",
    "maxHeldMs",
    "connectWaitMs",
  ] as const) {
    requireWhole(name, limits[name], { min: 0, max: maxTimerMs });
  }
  requireNumber("slowQueryMs", limits.slowQueryMs, { min: 0 });
  return limits;
}
