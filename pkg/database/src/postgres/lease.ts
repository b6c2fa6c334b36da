import { currentContext } from "@plinth/kernel";
import type { CompiledQuery, DatabaseConnection, IsolationLevel, Kysely, QueryResult } from "kysely";
import { DatabaseError } from "../errors.ts";
import type { Observer, TransactionOutcome } from "../observer.ts";
import { beginText, shorterTimeoutMs } from "./begin.ts";
import type { Connection, StatementResult } from "./connection.ts";
import { CursorReader, type ReadOptions } from "./cursor-reader.ts";
import { isPlainSelect } from "./plain-select.ts";
import type { Pool } from "./pool.ts";

export interface BeginSettings {
  readonly isolation?: IsolationLevel | undefined;
  readonly accessMode?: "read only" | "read write" | undefined;
}

/** Where leases come from. */
export interface LeaseSource {
  readonly pool: Pool;
  readonly observer: Observer;
  /** Refuses what a session that is shared with others would keep. */
  readonly guard: (sql: string) => void;
  /** A kysely whose statements all run on `connection`, which is of this source. */
  kyselyOn<Tables>(connection: DatabaseConnection): Kysely<Tables>;
}

/** A connection for as long as its user has it; afterwards it refuses, since somebody else has the connection then. */
export class Lease {
  readonly #connection: Connection;
  readonly #source: LeaseSource;
  #inTransaction = false;
  #onTransactionEnd: (outcome: TransactionOutcome) => void = ignore;
  #released = false;
  /** Set when a statement changed the session itself: the next user must not inherit that. */
  #changed = false;
  #reader: CursorReader<unknown> | undefined;

  constructor(connection: Connection, source: LeaseSource) {
    this.#connection = connection;
    this.#source = source;
  }

  /** @throws {@link DatabaseError} of {@link Pool.acquire}. */
  static async take(source: LeaseSource, signals: readonly AbortSignal[], label?: string): Promise<Lease> {
    try {
      return new Lease(await source.pool.acquire(signals, label), source);
    } catch (error) {
      source.observer.failed(error);
      throw error;
    }
  }

  get source(): LeaseSource {
    return this.#source;
  }

  get inTransaction(): boolean {
    return this.#inTransaction;
  }

  /** Whether rows are being read by a cursor: until they are, the connection takes nothing else. */
  get isReading(): boolean {
    return this.#reader !== undefined;
  }

  /** Runs what kysely has compiled. */
  run<R>({ sql, parameters, query }: CompiledQuery, signals: readonly AbortSignal[]): Promise<QueryResult<R>> {
    const { scope, pathIsOurs } = this.#connection;
    if (scope === undefined) return this.execute<R>(sql, parameters, signals);
    this.#source.guard(sql);
    const alone = !pathIsOurs && !this.#inTransaction && !isPlainSelect(query);
    return this.execute<R>(sql, parameters, signals, alone);
  }

  /**
   * Rows of a statement, in parts.
   * @param onClosed - Called when the connection may be used for something else.
   */
  read<R>(compiled: CompiledQuery, options: ReadOptions, onClosed: () => void = ignore): CursorReader<R> {
    const { scope, pathIsOurs } = this.#connection;
    const { observer, guard } = this.#source;
    const { sql, query } = compiled;
    if (scope !== undefined) guard(sql);
    // Behind a pooler the names in it mean nothing outside of a transaction.
    const alone = scope !== undefined && !pathIsOurs && !this.#inTransaction && !isPlainSelect(query);
    const reader = new CursorReader<R>(this.#connection, observer, compiled, {
      ...options,
      undone: this.#inTransaction || alone,
      onOpen: async () => {
        if (alone) await this.begin({}, options.signals);
      },
      onClosed: async (failed) => {
        this.#reader = undefined;
        if (alone) await (failed ? this.rollback() : this.commit([]));
        onClosed();
      },
      onRead: (changes) => void (this.#changed ||= changes && scope === undefined),
    });
    this.#reader = reader;
    return reader;
  }

  /** @param signals - Of the transaction as a whole. */
  async begin({ isolation, accessMode }: BeginSettings, signals: readonly AbortSignal[]): Promise<void> {
    const { clock, statementTimeoutMs: limitMs } = this.#connection.limits;
    const statementTimeoutMs = shorterTimeoutMs(limitMs, clock.monotonicMs());
    const scope = this.#connection.scope ?? "";
    try {
      await this.execute(beginText({ isolation, accessMode, scope, statementTimeoutMs }), [], signals);
    } catch (error) {
      await this.rollback(); // it may have begun
      throw error;
    }
    this.#inTransaction = true;
    this.#onTransactionEnd = this.#source.observer.beginTransaction();
  }

  /**
   * @throws {@link DatabaseError} `ERR_DATABASE_CANCELLED` when one of `signals` has aborted before; `ERR_DATABASE_OUTCOME_UNKNOWN`;
   *   `ERR_DATABASE_ROLLED_BACK`; and those of constraints that are looked at now.
   */
  async commit(signals: readonly AbortSignal[]): Promise<void> {
    await this.#endReading();
    const aborted = signals.find((signal) => signal.aborted);
    // Not while it runs: a commit that is cut half-way leaves a doubt that is worth more than the time it takes.
    if (aborted) await this.execute("commit", [], [aborted]);
    this.#inTransaction = false;
    let outcome: TransactionOutcome = "failed";
    try {
      const { command } = await this.execute("commit", [], []);
      outcome = command === "COMMIT" ? "committed" : "rolled_back";
    } finally {
      this.#onTransactionEnd(outcome);
    }
    if (outcome === "committed") return;
    const error = rolledBack("the transaction was rolled back, not committed");
    this.#source.observer.failed(error);
    throw error;
  }

  /** Never fails: where the server cannot be asked to, releasing cuts the connection, and the server undoes it then. */
  async rollback(): Promise<void> {
    await this.#endReading();
    const wasOpen = this.#inTransaction; // not after a commit that failed
    this.#inTransaction = false;
    if (wasOpen || !this.#connection.clean) {
      try {
        await this.execute("rollback", [], []);
      } catch (error) {
        this.#connection.destroy(error instanceof Error ? error : undefined);
      }
    }
    if (wasOpen) this.#onTransactionEnd("rolled_back");
  }

  /** Ends a savepoint, so that what was done since is part of what is around it. */
  async releaseSavepoint(name: string): Promise<void> {
    await this.#endReading();
    try {
      await this.savepoint("release savepoint", name, []);
    } catch (error) {
      if (!(error instanceof DatabaseError) || error.sqlState !== "25P02") throw error;
      throw rolledBack("the nested transaction was rolled back");
    }
  }

  /** Never fails: where it cannot be done the connection is cut, and all of the transaction is undone. */
  async rollbackToSavepoint(name: string): Promise<void> {
    await this.#endReading();
    try {
      await this.execute(`rollback to savepoint "${name}"; release savepoint "${name}"`, [], []);
    } catch (error) {
      this.#connection.destroy(error instanceof Error ? error : undefined);
    }
  }

  /** @param command - `savepoint`, `release savepoint` or `rollback to savepoint`. */
  async savepoint(command: string, name: string, signals: readonly AbortSignal[]): Promise<void> {
    await this.execute(`${command} "${name.replaceAll('"', '""')}"`, [], signals);
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (this.#changed || this.#reader) this.#connection.destroy();
    this.#source.pool.release(this.#connection);
  }

  /** Gives a connection back on which anything may have been set. */
  async releaseReset(): Promise<void> {
    if (this.#released) return;
    await this.#endReading();
    if (this.#connection.clean) await this.#connection.reset();
    this.#changed = false;
    this.release();
  }

  async execute<Row>(
    sql: string,
    values: readonly unknown[],
    signals: readonly AbortSignal[],
    inOwnTransaction = false,
  ): Promise<StatementResult<Row>> {
    if (this.#released) throw endedError();
    const { observer } = this.#source;
    const observation = observer.begin(sql);
    const { facts, text, startedAtMs } = observation;
    const { operation, changesSession } = facts;
    if (changesSession && this.#connection.scope === undefined) this.#changed = true;
    const undone = this.#inTransaction;
    try {
      const result = await this.#connection.execute<Row>({
        text,
        values,
        operation,
        undone,
        signals,
        startedAtMs,
        inOwnTransaction,
      });
      observer.end(observation);
      return result;
    } catch (error) {
      observer.fail(observation, error);
      throw error;
    }
  }

  /** Rows that nobody has read to their end would hold up what comes now for ever. */
  async #endReading(): Promise<void> {
    await this.#reader?.abandon(endedError());
  }
}

const none: readonly AbortSignal[] = Object.freeze([]);

function ignore(): void {}

/** Somebody kept something of a callback that has ended. */
export function endedError(): DatabaseError {
  return new DatabaseError(
    "ERR_DATABASE_CLOSED",
    "internal",
    "a query was made on a connection or transaction that has ended; await every query inside the callback",
  );
}

function rolledBack(says: string): DatabaseError {
  return new DatabaseError(
    "ERR_DATABASE_ROLLED_BACK",
    "internal",
    `${says}: a statement in it had failed and the failure was caught; let it leave the callback`,
  );
}

/** What cancels a statement: the request it is made for, and the signal given with it. */
export function signalsOf(given: AbortSignal | undefined): readonly AbortSignal[] {
  const own = currentContext()?.signal;
  if (own === undefined) return given === undefined ? none : [given];
  return given === undefined || given === own ? [own] : [own, given];
}
