import {
  type DatabaseConnection,
  type DatabaseIntrospector,
  type Dialect,
  type DialectAdapter,
  type Driver,
  Kysely,
  PostgresAdapter,
  PostgresQueryCompiler,
  type QueryCompiler,
  Transaction,
  type TransactionSettings,
} from "kysely";
import type { Observer } from "../observer.ts";
import { LevelSource, PoolSource, SourceExecutor, type StatementSource } from "./executor.ts";
import { OwnSchemaIntrospector } from "./introspection.ts";
import { Lease, type LeaseSource, signalsOf } from "./lease.ts";
import { Level } from "./level.ts";
import type { Pool } from "./pool.ts";
import { sessionGuard } from "./pooler.ts";

/** kysely on our pool: its compiler and introspection, our connections. Many `Kysely` objects may share one pool. */
export class PoolDialect implements Dialect {
  readonly leases: LeaseSource;
  readonly source: StatementSource;
  readonly #schema: string | undefined;

  /** @param schema - Written before each table that kysely names, for sessions on which nobody has set it. Default: none is. */
  constructor(pool: Pool, observer: Observer, schema?: string) {
    this.leases = {
      pool,
      observer,
      guard: sessionGuard(),
      kyselyOn: (connection) => this.#kyselyOn(levelOf(connection)),
    };
    this.source = new PoolSource(this.leases);
    this.#schema = schema;
  }

  /** Each statement on any connection of the pool. */
  kysely<Tables>(): Kysely<Tables> {
    return new Kysely<Tables>(this.#props(this.source));
  }

  /** All statements on one connection; in a transaction, kysely refuses to begin another. */
  #kyselyOn<Tables>(level: Level): Kysely<Tables> {
    const props = this.#props(new LevelSource(level));
    return level.lease.inTransaction ? new Transaction<Tables>(props) : new Kysely<Tables>(props);
  }

  createDriver(): Driver {
    return new PoolDriver(this.leases);
  }

  createQueryCompiler(): QueryCompiler {
    return new PostgresQueryCompiler();
  }

  createAdapter(): DialectAdapter {
    return new PostgresAdapter();
  }

  createIntrospector(db: Kysely<unknown>): DatabaseIntrospector {
    return new OwnSchemaIntrospector(db);
  }

  #props(source: StatementSource) {
    return {
      config: { dialect: this },
      dialect: this,
      driver: this.createDriver(),
      executor: new SourceExecutor(source, this.#schema),
    };
  }
}

/** For kysely's own transactions and connections. */
class PoolDriver implements Driver {
  readonly #leases: LeaseSource;

  constructor(leases: LeaseSource) {
    this.#leases = leases;
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    return new Level(await Lease.take(this.#leases, signalsOf(undefined)));
  }

  async beginTransaction(
    connection: DatabaseConnection,
    { isolationLevel, accessMode }: TransactionSettings,
  ): Promise<void> {
    await leaseOf(connection).begin({ isolation: isolationLevel, accessMode }, signalsOf(undefined));
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await leaseOf(connection).commit(signalsOf(undefined));
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await leaseOf(connection).rollback();
  }

  async savepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await leaseOf(connection).savepoint("savepoint", name, signalsOf(undefined));
  }

  async rollbackToSavepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await leaseOf(connection).savepoint("rollback to savepoint", name, signalsOf(undefined));
  }

  async releaseSavepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await leaseOf(connection).savepoint("release savepoint", name, signalsOf(undefined));
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    levelOf(connection).end();
    leaseOf(connection).release();
  }

  /** The pool belongs to the database that opened it, not to one view of it. */
  async destroy(): Promise<void> {}
}

function leaseOf(connection: DatabaseConnection): Lease {
  return levelOf(connection).lease;
}

/** What a connection of a {@link PoolDialect} is. */
export function levelOf(connection: DatabaseConnection): Level {
  if (connection instanceof Level) return connection;
  throw new TypeError("this connection is not one of this driver");
}
