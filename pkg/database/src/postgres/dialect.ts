import { currentContext } from "@plinth/kernel";
import {
  type CompiledQuery,
  type DatabaseConnection,
  type DatabaseIntrospector,
  type Dialect,
  type DialectAdapter,
  type Driver,
  type Kysely,
  PostgresAdapter,
  PostgresQueryCompiler,
  type QueryCompiler,
  type QueryResult,
  type TransactionSettings,
} from "kysely";
import { DatabaseError } from "../errors.ts";
import type { Observer, TransactionOutcome } from "../observer.ts";
import type { Connection, StatementResult } from "./connection.ts";
import { OwnSchemaIntrospector } from "./introspection.ts";
import { isPlainSelect } from "./plain-select.ts";
import type { Pool } from "./pool.ts";
import { sessionGuard } from "./pooler.ts";

/** kysely on our pool: its compiler and introspection, our connections. Many `Kysely` objects may share one pool. */
export class PoolDialect implements Dialect {
  readonly #pool: Pool;
  readonly #observer: Observer;

  constructor(pool: Pool, observer: Observer) {
    this.#pool = pool;
    this.#observer = observer;
  }

  createDriver(): Driver {
    return new PoolDriver(this.#pool, this.#observer);
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
}

class PoolDriver implements Driver {
  readonly #pool: Pool;
  readonly #observer: Observer;
  readonly #guard = sessionGuard();

  constructor(pool: Pool, observer: Observer) {
    this.#pool = pool;
    this.#observer = observer;
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    try {
      const connection = await this.#pool.acquire(signalsOf(undefined));
      return new Lease(connection, this.#pool, this.#observer, this.#guard);
    } catch (error) {
      this.#observer.failed(error);
      throw error;
    }
  }

  async beginTransaction(connection: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    await leaseOf(connection).begin(settings);
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await leaseOf(connection).commit();
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await leaseOf(connection).rollback();
  }

  async savepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await leaseOf(connection).savepoint("savepoint", name);
  }

  async rollbackToSavepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await leaseOf(connection).savepoint("rollback to savepoint", name);
  }

  async releaseSavepoint(connection: DatabaseConnection, name: string): Promise<void> {
    await leaseOf(connection).savepoint("release savepoint", name);
  }

  async releaseConnection(connection: DatabaseConnection): Promise<void> {
    leaseOf(connection).release();
  }

  /** The pool belongs to the database that opened it, not to one view of it. */
  async destroy(): Promise<void> {}
}

/** A connection for as long as its user has it; afterwards it refuses, since somebody else has the connection then. */
class Lease implements DatabaseConnection {
  readonly #connection: Connection;
  readonly #pool: Pool;
  readonly #observer: Observer;
  /** Refuses what a session that is shared with others would keep. */
  readonly #guard: (sql: string) => void;
  #inTransaction = false;
  #onTransactionEnd: (outcome: TransactionOutcome) => void = () => {};
  #released = false;
  /** Set when a statement changed the session itself: the next user must not inherit that. */
  #changed = false;

  constructor(connection: Connection, pool: Pool, observer: Observer, guard: (sql: string) => void) {
    this.#connection = connection;
    this.#pool = pool;
    this.#observer = observer;
    this.#guard = guard;
  }

  async executeQuery<R>(
    { sql, parameters, query }: CompiledQuery,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<QueryResult<R>> {
    const { scope, pathIsOurs } = this.#connection;
    if (scope !== undefined) this.#guard(sql);
    else if (changesSession.test(sql)) this.#changed = true;
    const alone = scope !== undefined && !pathIsOurs && !this.#inTransaction && !isPlainSelect(query);
    try {
      const { command, rowCount, rows } = await this.#execute<R>(sql, parameters, signalsOf(options?.signal), alone);
      return writes.has(command) ? { rows, numAffectedRows: BigInt(rowCount) } : { rows };
    } catch (error) {
      // With a signal of its own, kysely has already told its caller, and would print what it hears of later.
      if (options?.signal?.aborted) return { rows: [] };
      throw error;
    }
  }

  // oxlint-disable-next-line require-yield -- kysely's interface asks for a generator, and this one has nothing to give yet.
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new DatabaseError(
      "ERR_DATABASE_UNSUPPORTED",
      "unimplemented",
      "results are not streamed; read them in pages with limit and a key",
    );
  }

  async begin({ isolationLevel, accessMode }: TransactionSettings): Promise<void> {
    const mode = [isolationLevel && `isolation level ${isolationLevel}`, accessMode].filter(Boolean).join(" ");
    const begin = [`begin ${mode}`.trim(), this.#connection.scope].filter(Boolean).join("; ");
    await this.#execute(begin, [], signalsOf(undefined));
    this.#inTransaction = true;
    this.#onTransactionEnd = this.#observer.beginTransaction();
  }

  async commit(): Promise<void> {
    const signals = signalsOf(undefined);
    const aborted = signals.find((signal) => signal.aborted);
    // Not while it runs: a commit that is cut half-way leaves a doubt that is worth more than the time it takes.
    if (aborted) await this.#execute("commit", [], [aborted]);
    this.#inTransaction = false;
    let outcome: TransactionOutcome = "failed";
    try {
      const { command } = await this.#execute("commit", [], []);
      outcome = command === "COMMIT" ? "committed" : "rolled_back";
    } finally {
      this.#onTransactionEnd(outcome);
    }
    if (outcome === "committed") return;
    const error = new DatabaseError(
      "ERR_DATABASE_ROLLED_BACK",
      "internal",
      "the transaction was rolled back, not committed: a statement in it had failed and the failure was caught; let it leave the callback",
    );
    this.#observer.failed(error);
    throw error;
  }

  /** Never fails: where the server cannot be asked to, releasing cuts the connection, and the server undoes it then. */
  async rollback(): Promise<void> {
    const wasOpen = this.#inTransaction; // not after a commit that failed
    this.#inTransaction = false;
    try {
      await this.#execute("rollback", [], []);
    } catch (error) {
      this.#connection.destroy(error instanceof Error ? error : undefined);
    }
    if (wasOpen) this.#onTransactionEnd("rolled_back");
  }

  async savepoint(command: string, name: string): Promise<void> {
    await this.#execute(`${command} "${name.replaceAll('"', '""')}"`, [], signalsOf(undefined));
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (this.#changed) this.#connection.destroy();
    this.#pool.release(this.#connection);
  }

  #execute<Row>(
    text: string,
    values: readonly unknown[],
    signals: readonly AbortSignal[],
    inOwnTransaction = false,
  ): Promise<StatementResult<Row>> {
    if (this.#released) {
      throw new DatabaseError(
        "ERR_DATABASE_CLOSED",
        "internal",
        "a query was made on a connection or transaction that has ended; await every query inside the callback",
      );
    }
    const undone = this.#inTransaction;
    return this.#observer.observe(text, ({ operation }) =>
      this.#connection.execute<Row>({ text, values, operation, undone, signals, inOwnTransaction }),
    );
  }
}

const writes: ReadonlySet<string> = new Set(["INSERT", "UPDATE", "DELETE", "MERGE"]);
/** What outlives its transaction. `set local` and `set transaction` do not. */
const changesSession =
  /^\s*(?:set\s+(?!local\b|transaction\b|constraints\b)|reset\b|discard\b|listen\b|load\b|prepare\b)/i;

function leaseOf(connection: DatabaseConnection): Lease {
  if (connection instanceof Lease) return connection;
  throw new TypeError("this connection is not one of this driver");
}

/** What cancels a statement: the request it is made for, and the signal given with it. */
function signalsOf(given: AbortSignal | undefined): readonly AbortSignal[] {
  const own = currentContext()?.signal;
  return [own, given].filter((signal) => signal !== undefined);
}
