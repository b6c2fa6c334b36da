import { type Clock, messageOf, Secret, systemClock } from "@plinth/kernel";
import { DatabaseError } from "./errors.ts";
import type { MigrationState } from "./migrations/plan.ts";
import {
  type MigrateOptions,
  migrateDown,
  migrateUp,
  type MigrationStep,
  readStates,
  type RollbackOptions,
  runnerOn,
  type RunnerOptions,
} from "./migrations/runner.ts";
import { StatementTap } from "./migrations/statement-tap.ts";
import { createObserver, type Observer, type ObserverOptions } from "./observer.ts";
import { checkedLimits, type DatabaseLimits, type DatabaseOptions } from "./options.ts";
import { nameOf, type ServerAddress } from "./postgres/address.ts";
import { untilReachable } from "./postgres/connect-wait.ts";
import { Connection, type ConnectionOptions } from "./postgres/connection.ts";
import { PoolDialect } from "./postgres/dialect.ts";
import type { LongestHeld } from "./postgres/holders.ts";
import { Hosts } from "./postgres/hosts.ts";
import { Pool } from "./postgres/pool.ts";
import { closedError } from "./postgres/pool-errors.ts";
import { ensureSchema } from "./postgres/schema.ts";
import { noAnswer, SilenceError } from "./postgres/silence.ts";
import { cancelledBy } from "./postgres/sqlstate.ts";

/** A server that has not answered a health check for so long may be away; less says nothing. */
const leastSilenceMs = 500;

type Seams = "log" | "metrics" | "tracing";

/** What all views of one database share. */
export class DatabaseCore {
  readonly options: DatabaseOptions;
  readonly limits: DatabaseLimits;
  readonly server: ServerAddress;
  readonly pool: Pool;
  readonly dialect: PoolDialect;
  readonly #clock: Clock;
  readonly #hosts: Hosts;
  readonly #connection: ConnectionOptions & { readonly schema: string };
  readonly #pings: Pool;
  /** Of migrations that are under way. */
  readonly #migrators = new Set<Pool>();
  readonly #closing = new AbortController();

  constructor(options: DatabaseOptions) {
    this.options = options;
    this.limits = checkedLimits(options);
    this.#clock = options.clock ?? systemClock;
    this.#hosts = new Hosts({
      ...options,
      url: options.url instanceof Secret ? options.url.reveal() : options.url,
      connectTimeoutMs: this.limits.connectTimeoutMs,
      clock: this.#clock,
      onStale: (error) => this.#report(error),
    });
    this.server = { ...this.#hosts.url.hosts[0], database: this.#hosts.url.database };
    const { schema, applicationName = `plinth:${schema}`, pooler = "none" } = options;
    this.#connection = { ...this.limits, server: this.#hosts, schema, applicationName, pooler, clock: this.#clock };

    const observer = this.#observer(options);
    this.pool = this.#openPool(this.limits, {}, observer);
    observer.watch(() => this.pool.stats(), this.limits);
    // Qualified, so that what kysely alone has written means the same on a session that nobody has set anything on.
    this.dialect = new PoolDialect(this.pool, observer, pooler === "transaction" ? schema : undefined);
    this.#pings = this.#openPool(single, {});
  }

  async connect(signal: AbortSignal | undefined): Promise<void> {
    const { createSchema = true, migrateOnConnect = true } = this.options;
    await this.#firstConnection(createSchema, signal);
    if (migrateOnConnect) await this.migrate({ signal });
  }

  async #firstConnection(createSchema: boolean, signal: AbortSignal | undefined): Promise<void> {
    this.#requireOpen();
    const { signal: closing } = this.#closing;
    const either = signal ? AbortSignal.any([signal, closing]) : closing;
    const signals = [either];
    const { migrateOnConnect = true, migrations = [] } = this.options;
    const migrates = migrateOnConnect && migrations.length > 0;
    const { log } = this.options;
    const { connectWaitMs } = this.limits;
    const { hosts, database } = this.#hosts.url;
    const where = hosts.map(nameOf).join(",");
    const open = async (): Promise<void> => {
      await ensureSchema({ ...this.#connection, create: createSchema, migrates }, signals);
      this.pool.release(await this.pool.acquire(signals));
    };
    const onWait = (error: DatabaseError): void =>
      log?.warn("the database cannot be reached yet", { hosts: where, database, connectWaitMs, error });
    try {
      await untilReachable(open, { clock: this.#clock, connectWaitMs, signal: either, onWait });
    } catch (error) {
      this.#requireOpen();
      if (!(error instanceof DatabaseError)) throw error;
      const why = error.cause === undefined ? "" : `: ${messageOf(error.cause)}`;
      throw new DatabaseError(
        error.code,
        "failed_precondition",
        `database ${database} at ${where}: ${error.message}${why}`,
        { cause: error, sqlState: error.sqlState },
      );
    }
  }

  async migrate(options: MigrateOptions): Promise<readonly MigrationStep[]> {
    const { log, schema, migrations = [] } = this.options;
    if (migrations.length === 0) return [];
    const steps = await this.#migrating(options.signal, (runner) => migrateUp(runner, options));
    if (steps.length > 0 && !options.dryRun)
      log?.info("migrations applied", { schema, migrations: steps.map(({ name }) => name) });
    return steps;
  }

  async rollback(options: RollbackOptions): Promise<readonly MigrationStep[]> {
    const steps = await this.#migrating(options.signal, (runner) => migrateDown(runner, options));
    const { log, schema } = this.options;
    if (steps.length > 0 && !options.dryRun)
      log?.info("migrations taken back", { schema, migrations: steps.map(({ name }) => name) });
    return steps;
  }

  migrationStatus(signal: AbortSignal | undefined): Promise<readonly MigrationState[]> {
    return this.#migrating(signal, readStates);
  }

  /** Apart from the pool: sessions that may take as long as a change of a large table does, without a schema that may not be there yet. */
  async #migrating<T>(signal: AbortSignal | undefined, work: (runner: RunnerOptions) => Promise<T>): Promise<T> {
    this.#requireOpen();
    const { log, tracing, schema, migrations = [] } = this.options;
    const observer = this.#observer({ log, tracing });
    const tap = new StatementTap();
    const tapped: Observer = {
      ...observer,
      begin: (text) => {
        tap.tell(text);
        return observer.begin(text);
      },
    };
    const unlimited = { statementTimeoutMs: 0, idleInTransactionTimeoutMs: 0, schema: undefined };
    const pool = this.#openPool({ ...single, maxConnections: 2 }, unlimited, observer);
    this.#migrators.add(pool);
    const runner = runnerOn(new PoolDialect(pool, tapped), {
      tap,
      schema,
      migrations,
      lockTimeoutMs: this.limits.migrationLockTimeoutMs,
      hasSession: this.options.pooler !== "transaction",
      clock: this.#clock,
      signal,
      onWait: (holder) => log?.info("waiting for the migrations of another instance", { schema, holder }),
      onNewer: (names) =>
        log?.warn("the schema is newer than this version of the service", { schema, migrations: names }),
    });
    try {
      return await work(runner);
    } finally {
      await pool.close(AbortSignal.abort());
      this.#migrators.delete(pool);
    }
  }

  /** A server that does not answer is held to be away: queries are refused until a new connection shows otherwise. */
  async health(signal: AbortSignal | undefined): Promise<void> {
    const startedAtMs = this.#clock.monotonicMs();
    try {
      await this.#ask(signal);
    } catch (error) {
      const elapsedMs = this.#clock.monotonicMs() - startedAtMs;
      const ranOut = error instanceof DatabaseError && error.status === "deadline_exceeded";
      if ((ranOut && elapsedMs >= leastSilenceMs) || error instanceof SilenceError) {
        this.pool.distrust(error instanceof SilenceError ? error : noAnswer(elapsedMs), startedAtMs);
      }
      throw error;
    }
  }

  async #ask(signal: AbortSignal | undefined): Promise<void> {
    const connection = await this.#pings.acquire(signal ? [signal] : []);
    // Cut, not cancelled at the server: that would be one more thing to ask of a server in trouble.
    const cut = (): void => connection.destroy(cancelledBy(signal?.reason));
    signal?.addEventListener("abort", cut, { once: true });
    try {
      await connection.execute({ text: "select 1", values: [], operation: "SELECT", undone: true, signals: [] });
    } finally {
      signal?.removeEventListener("abort", cut);
      this.#pings.release(connection);
    }
  }

  async close(signal: AbortSignal | undefined): Promise<void> {
    this.#closing.abort(closedError());
    await Promise.all([this.pool, this.#pings, ...this.#migrators].map((pool) => pool.close(signal)));
  }

  /** @throws {@link DatabaseError} `ERR_DATABASE_CLOSED` */
  #requireOpen(): void {
    if (this.#closing.signal.aborted) throw closedError();
  }

  #observer({ log, metrics, tracing }: Pick<ObserverOptions, Seams>): Observer {
    const { slowQueryMs } = this.limits;
    const { name = "main", schema, traceComments = false } = this.options;
    const seams = { clock: this.#clock, log, metrics, tracing };
    return createObserver({ ...seams, name, slowQueryMs, server: this.server, schema, traceComments });
  }

  #openPool(size: PoolSize, changes: Partial<ConnectionOptions>, observer?: Observer): Pool {
    const options = { ...this.#connection, ...changes };
    const { acquireTimeoutMs, maxWaiting, idleTimeoutMs, maxLifetimeMs } = this.limits;
    return new Pool({
      ...size,
      acquireTimeoutMs,
      maxWaiting,
      idleTimeoutMs,
      maxLifetimeMs,
      withStacks: process.env.NODE_ENV !== "production",
      clock: this.#clock,
      random: this.options.random,
      open: (signal) => Connection.open(options, [signal]),
      events: observer?.pool,
      onFault: (error, held) => this.#report(error, held),
    });
  }

  #report(cause: Error, held?: LongestHeld): void {
    const { schema, errors, log } = this.options;
    // one that could not be opened, for a query that has given up meanwhile, says so itself
    const error =
      cause instanceof DatabaseError
        ? cause
        : new DatabaseError("ERR_DATABASE_CONNECTION_LOST", "unavailable", "an idle connection was lost", { cause });
    if (errors) errors.report(error, { origin: "process", severity: "warning", attributes: { schema, ...held } });
    else log?.warn(error.message, { schema, error, ...held });
  }
}

type PoolSize = Pick<DatabaseLimits, "minConnections" | "maxConnections" | "maxHeldMs">;

/** Of a pool that serves no callers. */
const single: PoolSize = { minConnections: 0, maxConnections: 1, maxHeldMs: 0 };
