import type { Clock, Scheduled } from "@plinth/kernel";
import { type Client, DatabaseError as PostgresError, type QueryResultRow } from "pg";
import Cursor from "pg-cursor";
import { DatabaseError } from "../errors.ts";
import { onAnyAbort, throwIfAborted } from "./abort.ts";
import type { RowCursor, Statement, StatementResult } from "./exchange.ts";
import { inOwnTransaction } from "./own-transaction.ts";
import { mutable, type Results, toResult } from "./results.ts";
import { toDatabaseError } from "./sqlstate.ts";

export interface RunnerOptions {
  readonly clock: Clock;
  /** What the server was told to allow, in milliseconds; 0 for no limit. */
  readonly statementTimeoutMs: number;
  /** What a begin sets where a pooler keeps nothing longer than a transaction; undefined elsewhere. */
  readonly scope: string | undefined;
  /** Asks the server to cancel what runs; resolves when that can no longer hit anything else. */
  readonly cancel: (signal: AbortSignal) => Promise<void>;
  /** Cuts the connection. */
  readonly cut: (reason: Error) => void;
}

/** What a server that does not answer is given beyond a limit, before its connection is cut. */
export const graceMs = 1_000;

/** Statements and cursors of one session, one after the other, each of them cancellable and within its limits. */
export class StatementRunner {
  /** Whether the server has refused a write because it, or the transaction, is read-only. */
  refusedWrite = false;
  readonly #client: Client;
  readonly #options: RunnerOptions;
  /** Those who wait for their turn, the first of them first. */
  readonly #turns: (() => void)[] = [];
  #busy = false;
  #lost: Error | undefined;
  /** Fails what is being waited for. */
  #fail: (error: Error) => void = ignore;
  #mustEndAtMs = Infinity;
  #guard: Scheduled | undefined;
  /** Of a statement that has failed: when the server is ready again, or gone. Until then the state of its transaction is not known. */
  #ready: PromiseWithResolvers<void> | undefined;
  #hasFailed = false;

  constructor(client: Client, options: RunnerOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** Whether something runs or waits for its turn. */
  get busy(): boolean {
    return this.#busy;
  }

  /** The connection is gone: fails what runs, and all that comes. */
  lose(error: Error): void {
    this.#lost = error;
    this.#guard?.cancel();
    this.#ready?.resolve();
    this.#fail(error);
  }

  /**
   * Runs one statement, after those given before it.
   * @throws {@link DatabaseError} Any code of a statement.
   */
  execute<Row = Record<string, unknown>>(statement: Statement): Promise<StatementResult<Row>> {
    if (this.#busy || statement.inOwnTransaction === true) return this.#executeInTurn<Row>(statement);
    this.#busy = true;
    return this.#send<Row>(statement, true);
  }

  async #executeInTurn<Row>(statement: Statement): Promise<StatementResult<Row>> {
    if (this.#busy) await this.#turn();
    this.#busy = true;
    const { scope } = this.#options;
    const begun = { ...statement, startedAtMs: this.#options.clock.monotonicMs() }; // the time in the queue is not its own
    if (scope === undefined || statement.inOwnTransaction !== true) return this.#send<Row>(begun, true);
    try {
      return await inOwnTransaction<Row>(begun, scope, (part) => this.#send(part, false));
    } finally {
      this.#endTurn();
    }
  }

  #send<Row>(statement: Statement, endsTurn: boolean): Promise<StatementResult<Row>> {
    const send: Send<StatementResult<Row>> = (resolve, reject) => {
      const { text, values } = statement;
      this.#client.query<Row & QueryResultRow>(text, mutable(values), (error: Error | null, results: Results<Row>) => {
        if (error) reject(error);
        else resolve(toResult<Row>(results));
      });
    };
    return this.#exchange(statement, send, endsTurn);
  }

  /**
   * Opens a cursor for `statement`, after the statements given before; those that come later wait until {@link closeCursor}.
   * @throws {@link DatabaseError} when the connection is lost, or a signal has aborted.
   */
  async openCursor<Row>(statement: Statement): Promise<RowCursor<Row>> {
    if (this.#busy) await this.#turn();
    this.#busy = true;
    try {
      this.#requireUsable(statement);
      return this.#client.query(new Cursor<Row>(statement.text, mutable(statement.values)));
    } catch (error) {
      this.#endTurn();
      if (error instanceof DatabaseError) throw error;
      const { operation } = statement;
      throw toDatabaseError(error, { ...neverSent, operation, connectionLost: false, statementTimeoutMs: 0 });
    }
  }

  /**
   * The next rows of a cursor, at most `maxRows`; none at its end.
   * @throws {@link DatabaseError} Any code of a statement. Close it then as well.
   */
  async fetch<Row>(cursor: RowCursor<Row>, maxRows: number, statement: Statement): Promise<Row[]> {
    const send: Send<Row[]> = (resolve, reject) => {
      cursor.read(maxRows, (error, rows) => {
        if (error) reject(error);
        else resolve(rows);
      });
    };
    return this.#exchange(statement, send, false);
  }

  /** Closes a cursor and lets the next statement run. Never fails: where the server does not answer, the connection is cut. */
  async closeCursor(cursor: RowCursor<unknown>): Promise<void> {
    // One that has failed is closed by that.
    const isOpen = !this.#lost && !this.#hasFailed;
    const late = isOpen ? this.#cutAfter(graceMs) : undefined;
    try {
      if (isOpen) await this.#answer<void>((resolve) => cursor.close(() => resolve()));
    } catch (error) {
      this.#options.cut(error instanceof Error ? error : new Error("a cursor could not be closed", { cause: error }));
    } finally {
      late?.cancel();
      this.#endTurn();
    }
  }

  /** Sends something for `statement` and waits for the answer, within its limits. */
  async #exchange<T>(statement: Statement, send: Send<T>, endsTurn: boolean): Promise<T> {
    const { clock, statementTimeoutMs } = this.#options;
    try {
      this.#requireUsable(statement);
    } catch (error) {
      if (endsTurn) this.#endTurn();
      throw error;
    }
    this.#hasFailed = false;
    const { operation, undone, signals, startedAtMs = clock.monotonicMs() } = statement;
    const cancelling = signals.length > 0 || this.#endsHere ? this.#cancelOn(signals) : undefined;
    if (statementTimeoutMs > 0) this.#guardUntil(startedAtMs);
    try {
      return await this.#answer(send);
    } catch (error) {
      const elapsedMs = clock.monotonicMs() - startedAtMs;
      this.#hasFailed = true;
      await this.#ready?.promise;
      this.#ready = undefined;
      const connectionLost = this.#lost !== undefined;
      this.refusedWrite ||= error instanceof PostgresError && error.code === "25006";
      // What failed on this side may have left the session between two messages: nobody can use it any more.
      if (!connectionLost && !(error instanceof PostgresError)) this.#options.cut(new Error("the connection was cut"));
      const abortedBy = cancelling?.abortedBy;
      // Made here, where the chain of awaits leads to whoever gave the statement.
      throw toDatabaseError(error, { operation, undone, connectionLost, elapsedMs, statementTimeoutMs, abortedBy });
    } finally {
      this.#mustEndAtMs = Infinity;
      if (cancelling) {
        cancelling.forget();
        await cancelling.done;
        cancelling.cut?.cancel();
      }
      if (endsTurn) this.#endTurn();
    }
  }

  /** What the server answers, or why it cannot any more: pg does not tell of that while a cursor is being closed. */
  #answer<T>(send: Send<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#fail = reject;
    send(
      (result) => {
        this.#fail = ignore;
        resolve(result);
      },
      (error) => {
        this.#fail = ignore;
        // In the turn in which the error came: the server may be ready before anybody could ask for it later.
        if (error instanceof PostgresError && !this.#lost) this.#awaitReady();
        reject(error);
      },
    );
    return promise;
  }

  #awaitReady(): void {
    this.#ready = Promise.withResolvers();
    this.#client.once("drain", this.#ready.resolve);
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#turns.push(resolve);
    });
  }

  #endTurn(): void {
    const next = this.#turns.shift();
    if (next) next();
    else this.#busy = false;
  }

  #requireUsable({ signals, operation }: Statement): void {
    throwIfAborted(signals);
    if (!this.#lost) return;
    const { statementTimeoutMs } = this.#options;
    throw toDatabaseError(this.#lost, { ...neverSent, operation, statementTimeoutMs });
  }

  #cancelOn(signals: readonly AbortSignal[]): Cancelling {
    const { clock, statementTimeoutMs } = this.#options;
    const begin = (): void => {
      const late = new AbortController();
      cancelling.cut ??= this.#cutAfter(graceMs, () => late.abort());
      cancelling.done ??= this.#cancel(late.signal);
    };
    const limit = this.#endsHere ? clock.schedule(statementTimeoutMs, begin) : undefined;
    const forget = onAnyAbort(signals, (reason) => {
      if (!cancelling.done) cancelling.abortedBy = { reason };
      begin();
    });
    const cancelling: Cancelling = {
      forget() {
        limit?.cancel();
        forget();
      },
    };
    return cancelling;
  }

  /** Whether this side keeps the limit: the server is told of none where a pooler gives each statement another session. */
  get #endsHere(): boolean {
    return this.#options.scope !== undefined && this.#options.statementTimeoutMs > 0;
  }

  async #cancel(signal: AbortSignal): Promise<void> {
    try {
      await this.#options.cancel(signal);
    } catch (error) {
      this.#options.cut(new Error("the statement could not be cancelled, so its connection was cut", { cause: error }));
    }
  }

  /** One timer for many statements: it is set again when it finds that another one runs meanwhile. */
  #guardUntil(startedAtMs: number): void {
    const { clock, statementTimeoutMs } = this.#options;
    const limitMs = statementTimeoutMs + graceMs;
    this.#mustEndAtMs = startedAtMs + limitMs;
    if (this.#guard) return;
    const look = (): void => {
      this.#guard = undefined;
      if (this.#lost || this.#mustEndAtMs === Infinity) return;
      const leftMs = this.#mustEndAtMs - clock.monotonicMs();
      if (leftMs > 0) this.#guard = clock.schedule(leftMs, look, { keepAlive: false });
      else this.#options.cut(silent(limitMs));
    };
    this.#guard = clock.schedule(Math.max(0, this.#mustEndAtMs - clock.monotonicMs()), look, { keepAlive: false });
  }

  #cutAfter(delayMs: number, also: () => void = ignore): Scheduled {
    return this.#options.clock.schedule(delayMs, () => {
      also();
      this.#options.cut(silent(delayMs));
    });
  }
}

type Send<T> = (resolve: (result: T) => void, reject: (error: Error) => void) => void;

/** What signals do to a statement. */
interface Cancelling {
  readonly forget: () => void;
  abortedBy?: { readonly reason: unknown };
  done?: Promise<void>;
  cut?: Scheduled;
}

const neverSent = Object.freeze({ undone: true, connectionLost: true, elapsedMs: 0 });

function ignore(): void {}

function silent(waitedMs: number): DatabaseError {
  return new DatabaseError(
    "ERR_DATABASE_TIMEOUT",
    "deadline_exceeded",
    `the database did not answer within ${waitedMs} ms, so the connection was cut`,
  );
}
