import type { CompiledQuery, DatabaseConnection, QueryResult } from "kysely";
import { DatabaseError } from "../errors.ts";
import type { CursorReader, ReadOptions } from "./cursor-reader.ts";
import { endedError, type Lease, signalsOf } from "./lease.ts";

/**
 * One callback's hold on a connection: a connection, the transaction on it, a savepoint in that. While an inner one is open the outer one
 * refuses, since what it would do would be part of the inner one; after its end each refuses.
 */
export class Level implements DatabaseConnection {
  readonly lease: Lease;
  readonly #outer: Level | undefined;
  #inner: Level | undefined;
  #isEnded = false;

  constructor(lease: Lease, outer?: Level) {
    this.lease = lease;
    this.#outer = outer;
  }

  /** How many are around it. */
  get depth(): number {
    return this.#outer ? this.#outer.depth + 1 : 0;
  }

  /** Whether what is around it has ended first, and its connection's transaction with it. */
  get isAbandoned(): boolean {
    return this.#outer !== undefined && this.#outer.#isEnded;
  }

  /** @throws {@link DatabaseError} as {@link requireUsable}. */
  enter(): Level {
    this.requireUsable();
    this.#inner = new Level(this.lease, this);
    return this.#inner;
  }

  /**
   * Its callback has done all that it wanted to.
   * @throws {@link DatabaseError} `ERR_DATABASE_CLOSED` when {@link isAbandoned}; `ERR_DATABASE_BUSY` while an inner one is open, which has
   *   done a part of its work by now: nobody wants that part alone.
   */
  complete(): void {
    if (this.isAbandoned) throw endedError();
    if (this.#inner) {
      throw new DatabaseError(
        "ERR_DATABASE_BUSY",
        "internal",
        "a transaction's callback has ended while a nested transaction was open on it, so both are undone; await the nested one inside",
      );
    }
    this.end();
  }

  /** Nothing that was kept of it is of use from now on. */
  end(): void {
    this.#isEnded = true;
    this.#inner?.end();
  }

  /** The outer one may go on. Called when its end is done. */
  leave(): void {
    this.#isEnded = true;
    if (this.#outer && this.#outer.#inner === this) this.#outer.#inner = undefined;
  }

  /** @throws {@link DatabaseError} `ERR_DATABASE_CLOSED`, `ERR_DATABASE_BUSY` */
  requireUsable(): void {
    if (this.#isEnded) throw endedError();
    if (this.#inner) {
      throw busy(
        "a nested transaction is open on it",
        "use what the nested callback is given, and await it before going on",
      );
    }
    if (this.lease.isReading) {
      throw busy(
        "rows of it are being streamed",
        "read them to their end first, or ask the database instead, on another connection",
      );
    }
  }

  async run<R>(compiled: CompiledQuery, signals: readonly AbortSignal[]): Promise<QueryResult<R>> {
    this.requireUsable();
    return this.lease.run<R>(compiled, signals);
  }

  read<R>(compiled: CompiledQuery, options: ReadOptions): CursorReader<R> {
    this.requireUsable();
    return this.lease.read<R>(compiled, options);
  }

  async executeQuery<R>(
    compiled: CompiledQuery,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<QueryResult<R>> {
    try {
      return await this.run<R>(compiled, signalsOf(options?.signal));
    } catch (error) {
      // With a signal of its own, kysely has already told its caller, and would print what it hears of later.
      if (options?.signal?.aborted) return { rows: [] };
      throw error;
    }
  }

  async *streamQuery<R>(
    compiled: CompiledQuery,
    batchSize: number,
    options?: { readonly signal?: AbortSignal | undefined },
  ): AsyncIterableIterator<QueryResult<R>> {
    yield* this.read<R>(compiled, { batchSize, signals: signalsOf(options?.signal) }).parts();
  }
}

function busy(what: string, instead: string): DatabaseError {
  return new DatabaseError(
    "ERR_DATABASE_BUSY",
    "internal",
    `a query was made on a transaction or connection while ${what}; ${instead}`,
  );
}
