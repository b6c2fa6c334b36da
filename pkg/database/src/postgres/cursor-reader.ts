import type { Scheduled } from "@plinth/kernel";
import type { CompiledQuery } from "kysely";
import { DatabaseError } from "../errors.ts";
import type { Observation, Observer } from "../observer.ts";
import type { Connection } from "./connection.ts";
import { readsOnly } from "../statement.ts";
import { onAnyAbort } from "./abort.ts";
import type { RowCursor, Statement } from "./exchange.ts";
import { cancelledBy } from "./sqlstate.ts";

export interface ReadOptions {
  /** Rows at a time, 1 or more. */
  readonly batchSize: number;
  /** Any of them ends it, also between two parts. */
  readonly signals: readonly AbortSignal[];
}

interface ReaderOptions extends ReadOptions {
  /** As {@link Statement.undone}. */
  readonly undone: boolean;
  readonly onOpen: () => Promise<void>;
  readonly onClosed: (failed: boolean) => Promise<void>;
  /** Told whether the statement changes its session. */
  readonly onRead: (changesSession: boolean) => void;
}

/**
 * The rows of one statement in parts: the next part is asked for when it is wanted, so that a slow reader holds up the server and not this
 * process's memory. Between two parts a signal, or too long a pause, ends it at once, without waiting for whoever reads.
 */
export class CursorReader<Row> {
  readonly #connection: Connection;
  readonly #observer: Observer;
  readonly #compiled: CompiledQuery;
  readonly #options: ReaderOptions;
  #observation: Observation | undefined;
  #statement: Statement | undefined;
  #cursor: RowCursor<Row> | undefined;
  #fetching: Promise<Row[]> | undefined;
  #unwatch: () => void = ignore;
  #closing: Promise<void> | undefined;
  /** Why it was ended from outside, for whoever reads next. */
  #reason: DatabaseError | undefined;
  #tookMs = 0;

  constructor(connection: Connection, observer: Observer, compiled: CompiledQuery, options: ReaderOptions) {
    this.#connection = connection;
    this.#observer = observer;
    this.#compiled = compiled;
    this.#options = options;
  }

  /**
   * @returns undefined after the last part.
   * @throws {@link DatabaseError} Any code of a statement; all is closed then.
   */
  async #next(): Promise<Row[] | undefined> {
    this.#unwatch();
    this.#requireWanted();
    if (this.#closing) return undefined;
    const { clock } = this.#connection.limits;
    const { batchSize } = this.#options;
    const startedAtMs = clock.monotonicMs();
    let rows: Row[];
    try {
      this.#fetching = this.#fetch(startedAtMs);
      rows = await this.#fetching;
    } catch (error) {
      this.#tookMs += clock.monotonicMs() - startedAtMs;
      await this.#close(error);
      throw error;
    } finally {
      this.#fetching = undefined;
    }
    this.#tookMs += clock.monotonicMs() - startedAtMs;
    this.#requireWanted();
    if (rows.length < batchSize) await this.#close();
    else this.#watch();
    return rows.length > 0 ? rows : undefined;
  }

  /**
   * One part after the other, to the end, or to where their reader stops; then all is closed.
   * @throws {@link DatabaseError} Any code of a statement.
   */
  async *parts(): AsyncGenerator<{ readonly rows: Row[] }, void, void> {
    try {
      for (let rows = await this.#next(); rows; rows = await this.#next()) yield { rows };
    } finally {
      await this.#close();
    }
  }

  /** Ends it for whoever reads, who is told why. */
  async abandon(reason: DatabaseError): Promise<void> {
    if (this.#closing) {
      await this.#closing;
      return;
    }
    this.#reason = reason;
    await this.#fetching?.catch(ignore); // who waits for it is told by it
    await this.#close(reason);
  }

  async #fetch(startedAtMs: number): Promise<Row[]> {
    const { batchSize, undone, signals, onOpen, onRead } = this.#options;
    if (!this.#cursor || !this.#statement) {
      const { sql, parameters } = this.#compiled;
      await onOpen();
      const observation = this.#observer.begin(sql);
      this.#observation = observation;
      const { text, facts } = observation;
      const { operation, changesSession } = facts;
      if (operation === "COPY") throw unsupported("COPY gives no rows, and is not streamed");
      onRead(changesSession);
      this.#statement = { text, values: parameters, operation, undone, signals };
      this.#cursor = await this.#connection.openCursor<Row>(this.#statement);
    }
    return this.#connection.fetch(this.#cursor, batchSize, { ...this.#statement, startedAtMs });
  }

  #close(error?: unknown): Promise<void> {
    this.#closing ??= this.#finish(error);
    return this.#closing;
  }

  async #finish(error: unknown): Promise<void> {
    this.#unwatch();
    // Closing commits what a writing statement has done: who was told that it was cancelled must not find it done.
    const isReading = this.#options.undone || readsOnly.has(this.#observation?.facts.operation ?? "");
    if (error !== undefined && !isReading) this.#connection.destroy();
    if (this.#cursor) await this.#connection.closeCursor(this.#cursor);
    if (this.#observation) {
      if (error === undefined) this.#observer.end(this.#observation, this.#tookMs);
      else this.#observer.fail(this.#observation, error, this.#tookMs);
    }
    await this.#options.onClosed(error !== undefined);
  }

  #requireWanted(): void {
    if (this.#reason) throw this.#reason;
  }

  /** While nobody asks for the next part. */
  #watch(): void {
    const { clock, idleInTransactionTimeoutMs: limitMs } = this.#connection.limits;
    const forget = onAnyAbort(this.#options.signals, (reason) => void this.abandon(cancelledBy(reason)));
    let timer: Scheduled | undefined;
    if (limitMs > 0) {
      timer = clock.schedule(limitMs, () => void this.abandon(paused(limitMs)), { keepAlive: false });
    }
    this.#unwatch = () => {
      this.#unwatch = ignore;
      forget();
      timer?.cancel();
    };
  }
}

function ignore(): void {}

function unsupported(says: string): DatabaseError {
  return new DatabaseError("ERR_DATABASE_UNSUPPORTED", "unimplemented", says);
}

function paused(limitMs: number): DatabaseError {
  return new DatabaseError(
    "ERR_DATABASE_TIMEOUT",
    "deadline_exceeded",
    `the rows were not read on for ${limitMs} ms, so their connection was taken back; read faster, in larger parts, or raise idleInTransactionTimeoutMs`,
  );
}
