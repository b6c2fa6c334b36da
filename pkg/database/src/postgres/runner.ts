import type { Clock, Scheduled } from "@plinth/kernel";
import { type Client, DatabaseError as PostgresError, type QueryResult, type QueryResultRow } from "pg";
import Cursor from "pg-cursor";
import { DatabaseError } from "../errors.ts";
import { onAnyAbort, throwIfAborted } from "./abort.ts";
import { inOwnTransaction } from "./own-transaction.ts";
import { lastOf, mutable } from "./results.ts";
import { toDatabaseError } from "./sqlstate.ts";

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
  /** As {@link StatementFacts.operation}. */
  readonly operation: string;
  /** Whether a lost connection undoes it: it stands in a transaction, and does not commit it. */
  readonly undone: boolean;
  /** Any of them cancels the statement at the server. */
  readonly signals: readonly AbortSignal[];
  /** When it was given, in milliseconds of the monotonic clock. Default: now. */
  readonly startedAtMs?: number;
  /** It stands alone and needs the schema, which a pooler keeps for a transaction only. Default false. */
  readonly inOwnTransaction?: boolean;
}

export interface StatementResult<Row> {
  readonly command: string;
  readonly rowCount: number;
  readonly rows: Row[];
}

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
  async execute<Row = Record<string, unknown>>(statement: Statement): Promise<StatementResult<Row>> {
    if (this.#busy) await this.#turn();
    this.#busy = true;
    const { scope } = this.#options;
    const { inOwnTransaction: alone = false } = statement;
    try {
      if (!alone || scope === undefined) return await this.#send<Row>(statement);
      return await inOwnTransaction<Row>(statement, scope, (part) => this.#send(part));
    } finally {
      this.#endTurn();
    }
  }

  async #send<Row>(statement: Statement): Promise<StatementResult<Row>> {
    const { command, rowCount, rows } = lastOf(
      await this.#exchange<Results<Row>>(statement, (done) => {
        this.#client.query<Row & QueryResultRow>(statement.text, mutable(statement.values), done);
      }),
    );
    return { command, rowCount: rowCount ?? 0, rows };
  }

  /**
   * Opens a cursor for `statement`, after the statements given before; those that come later wait until {@link closeCursor}.
   * @throws {@link DatabaseError} when the connection is lost, or a signal has aborted.
   */
  async openCursor<Row>(statement: Statement): Promise<Cursor<Row>> {
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
  async fetch<Row>(cursor: Cursor<Row>, maxRows: number, statement: Statement): Promise<Row[]> {
    return this.#exchange<Row[]>(statement, (done) => {
      cursor.read(maxRows, done);
    });
  }

  /** Closes a cursor and lets the next statement run. Never fails: where the server does not answer, the connection is cut. */
  async closeCursor(cursor: Cursor): Promise<void> {
    // One that has failed is closed by that.
    const isOpen = !this.#lost && !this.#hasFailed;
    const late = isOpen ? this.#cutAfter(graceMs) : undefined;
    try {
      if (isOpen) await this.#answer<void>((done) => cursor.close(done));
    } catch (error) {
      this.#options.cut(error instanceof Error ? error : new Error("a cursor could not be closed", { cause: error }));
    } finally {
      late?.cancel();
      this.#endTurn();
    }
  }

  /** Sends something for `statement` and waits for the answer, within its limits. */
  async #exchange<T>(statement: Statement, send: (done: Answer<T>) => void): Promise<T> {
    const { clock, statementTimeoutMs } = this.#options;
    this.#requireUsable(statement);
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
    }
  }

  /** What the server answers, or why it cannot any more: pg does not tell of that while a cursor is being closed. */
  #answer<T>(send: (done: Answer<T>) => void): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#fail = reject;
    send((error, result) => {
      this.#fail = ignore;
      if (!error) {
        resolve(result);
        return;
      }
      // In the turn in which the error came: the server may be ready before anybody could ask for it later.
      if (error instanceof PostgresError && !this.#lost) {
        this.#awaitReady();
      }
      reject(error);
    });
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

type Results<Row> = QueryResult<Row & QueryResultRow> | readonly QueryResult<Row & QueryResultRow>[];
type Answer<T> = (error: Error | null | undefined, result: T) => void;

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
