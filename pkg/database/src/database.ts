import type { Kysely } from "kysely";
import { DatabaseCore } from "./core.ts";
import type { MigrationState } from "./migrations/plan.ts";
import type { MigrateOptions, MigrationStep, RollbackOptions } from "./migrations/runner.ts";
import type { DatabaseOptions } from "./options.ts";
import type { PoolStats } from "./postgres/pool.ts";
import { Lease, signalsOf } from "./postgres/lease.ts";
import { Level } from "./postgres/level.ts";
import { KyselyQueries, type NoTables, type Queries, queriesOn, type QueryOptions, withSignal } from "./queries.ts";
import { transact, type TransactionOptions } from "./transaction.ts";

export interface ConnectionUse extends QueryOptions {
  /** As {@link TransactionOptions.label}. */
  readonly label?: string;
}

/** One service's database: a pool of connections on which every unqualified name is in the service's own schema. */
export interface Database<Tables = NoTables> extends Queries<Tables> {
  readonly schema: string;
  /**
   * The same database, seen as having these tables. Nothing is checked: it says what the migrations have made.
   * @example const notes = db.withTables<NotesTables>();
   */
  withTables<T>(): Database<T>;
  /**
   * One connection for several statements, outside of a transaction: for settings, locks and temporary tables of a session, all of which are
   * taken back at the end. Await every query inside.
   * @throws what `fn` throws; {@link DatabaseError} of a connection that cannot be had.
   */
  withConnection<T>(fn: (connection: Queries<Tables>) => Promise<T>, options?: ConnectionUse): Promise<T>;
  /**
   * Creates the schema where it is absent, opens and checks a first connection, applies pending migrations.
   * @throws {@link DatabaseError} with host, port and database in its message; `ERR_DATABASE_MIGRATION`.
   */
  connect(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /**
   * Applies the migrations that were not applied yet, sorted by name, each in a transaction of its own and under a lock;
   * {@link connect} does so by itself unless told not to.
   * @returns Those applied now; those that would be, of a dry run.
   * @throws {@link DatabaseError} `ERR_DATABASE_MIGRATION`, naming the one that failed, or those that are edited, missing or out of
   *   order; `ERR_DATABASE_MIGRATION_LOCK`, saying who is at them; {@link OptionError} for a `to` that there is not.
   */
  migrate(options?: MigrateOptions): Promise<readonly MigrationStep[]>;
  /**
   * Takes back what was applied last: one, `steps`, or all after `to`.
   * @throws As {@link migrate}; `ERR_DATABASE_MIGRATION` too for one that has no way down, before anything is done.
   */
  rollback(options?: RollbackOptions): Promise<readonly MigrationStep[]>;
  /** All migrations that are given or were applied, sorted by name. Changes nothing and waits for nobody. */
  migrationStatus(options?: { readonly signal?: AbortSignal }): Promise<readonly MigrationState[]>;
  /**
   * Asks the server for a sign of life, on a connection of its own: an exhausted pool does not delay it.
   * @throws {@link DatabaseError}
   */
  health(options?: { readonly signal?: AbortSignal }): Promise<void>;
  stats(): PoolStats;
  /** Refuses new queries, ends a {@link connect} that waits, lets what runs end, migrations too, until `signal` aborts, then cuts it. Safe twice. */
  close(options?: { readonly signal?: AbortSignal }): Promise<void>;
}

/**
 * A pool for one service. Connections are opened when they are needed; {@link Database.connect} opens the first.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` or `ERR_OPTION_TYPE`, beginning with the option's name.
 * @example
 * const db = openDatabase<NotesTables>({ url: "postgres://127.0.0.1/app", schema: "notes" });
 * await db.connect();
 */
export function openDatabase<Tables = NoTables>(options: DatabaseOptions): Database<Tables> {
  return new PooledDatabase<Tables>(new DatabaseCore(options));
}

class PooledDatabase<Tables> extends KyselyQueries<Tables> implements Database<Tables> {
  readonly schema: string;
  readonly kysely: Kysely<Tables>;
  readonly #core: DatabaseCore;

  constructor(core: DatabaseCore) {
    super();
    this.#core = core;
    this.schema = core.options.schema;
    this.kysely = core.dialect.kysely<Tables>();
  }

  withTables<T>(): Database<T> {
    return new PooledDatabase<T>(this.#core);
  }

  async transaction<T>(fn: (tx: Queries<Tables>) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const { leases } = this.#core.dialect;
    const run = (level: Level): Promise<T> => fn(queriesOn<Tables>(level));
    return withSignal(options.signal, () => transact(leases, run, options));
  }

  async withConnection<T>(
    fn: (connection: Queries<Tables>) => Promise<T>,
    { signal, label }: ConnectionUse = {},
  ): Promise<T> {
    return withSignal(signal, async () => {
      const level = new Level(await Lease.take(this.#core.dialect.leases, signalsOf(undefined), label));
      try {
        return await fn(queriesOn<Tables>(level));
      } finally {
        level.end();
        await level.lease.releaseReset();
      }
    });
  }

  connect({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#core.connect(signal);
  }

  migrate(options: MigrateOptions = {}): Promise<readonly MigrationStep[]> {
    return this.#core.migrate(options);
  }

  rollback(options: RollbackOptions = {}): Promise<readonly MigrationStep[]> {
    return this.#core.rollback(options);
  }

  migrationStatus({ signal }: { readonly signal?: AbortSignal } = {}): Promise<readonly MigrationState[]> {
    return this.#core.migrationStatus(signal);
  }

  health({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#core.health(signal);
  }

  stats(): PoolStats {
    return this.#core.pool.stats();
  }

  close({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    return this.#core.close(signal);
  }
}
