import { Socket } from "node:net";
import { type Clock, runInContext, type Scheduled } from "@plinth/kernel";
import { Client, DatabaseError as PostgresError, type QueryResult, type QueryResultRow } from "pg";
import { DatabaseError } from "../errors.ts";
import { quoteIdentifier } from "../schema-name.ts";
import { cancelKeyOf, sendCancelRequest } from "./cancel.ts";
import { cancelledBy, toConnectError, toDatabaseError } from "./sqlstate.ts";

export interface ConnectionOptions {
  readonly url: string;
  /** What unqualified names mean; undefined leaves the server's search path, for creating the schema. */
  readonly schema: string | undefined;
  readonly applicationName: string;
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly idleInTransactionTimeoutMs: number;
  readonly clock: Clock;
}

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
  /** As {@link StatementFacts.operation}. */
  readonly operation: string;
  /** Whether a lost connection undoes it: it stands in a transaction, and does not commit it. */
  readonly undone: boolean;
  /** Any of them cancels the statement at the server. */
  readonly signals: readonly AbortSignal[];
}

export interface StatementResult<Row> {
  readonly command: string;
  readonly rowCount: number;
  readonly rows: Row[];
}

/** What a server that does not answer is given beyond a limit, before its connection is cut. */
const graceMs = 1_000;

/** One session at the server: its schema set, its statements one after the other, each of them cancellable. */
export class Connection {
  readonly #client: Client;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  #last: Promise<unknown> = Promise.resolve();
  #lost: Error | undefined;
  #broke = false;
  #running = 0;
  #onLost: (error: Error) => void = () => {};

  private constructor(client: Client, socket: Socket, options: ConnectionOptions) {
    this.#client = client;
    this.#socket = socket;
    this.#options = options;
    // Without a listener an idle connection that the server drops would end the process.
    const onBreak = (error: Error): void => {
      this.#broke ||= this.#lost === undefined;
      this.#lose(error);
    };
    client.on("error", onBreak);
    client.on("end", () => onBreak(new Error("the connection has ended")));
  }

  /**
   * Connects, logs in and sets the schema, all within `connectTimeoutMs`.
   * @throws {@link DatabaseError} `ERR_DATABASE_UNAVAILABLE`, `ERR_DATABASE_ACCESS`, `ERR_DATABASE_SCHEMA`, `ERR_DATABASE_CANCELLED`.
   */
  static open(options: ConnectionOptions, signals: readonly AbortSignal[] = []): Promise<Connection> {
    // Outside of any request: the socket outlives the one that opens it.
    return runInContext({}, () => Connection.#open(options, signals));
  }

  static async #open(options: ConnectionOptions, signals: readonly AbortSignal[]): Promise<Connection> {
    const { url, applicationName, connectTimeoutMs, statementTimeoutMs, idleInTransactionTimeoutMs } = options;
    throwIfAborted(signals);
    const socket = new Socket();
    const client = new Client({
      connectionString: url,
      application_name: applicationName,
      statement_timeout: statementTimeoutMs,
      idle_in_transaction_session_timeout: idleInTransactionTimeoutMs,
      keepAlive: true,
      stream: () => socket,
    });
    const connection = new Connection(client, socket, options);
    let failure: DatabaseError | undefined;
    const give = (error: DatabaseError): void => {
      failure ??= error;
      socket.destroy();
    };
    const limit = options.clock.schedule(connectTimeoutMs, () =>
      give(
        new DatabaseError(
          "ERR_DATABASE_UNAVAILABLE",
          "unavailable",
          `no connection to the database after ${connectTimeoutMs} ms`,
        ),
      ),
    );
    const forget = onAnyAbort(signals, (reason) => give(cancelledBy(reason)));
    try {
      await client.connect();
      if (options.schema !== undefined) await connection.#setSchema(options.schema);
      return connection;
    } catch (error) {
      connection.destroy();
      throw failure ?? toConnectError(error);
    } finally {
      limit.cancel();
      forget();
    }
  }

  /** The server's number of this session: what `pg_backend_pid()` says. */
  get processId(): number | undefined {
    return cancelKeyOf(this.#client)?.processId;
  }

  /** Calls `listener` once, when the connection breaks or ends. */
  onLost(listener: (error: Error) => void): void {
    this.#onLost = listener;
  }

  /** Whether it ended without being closed or cut from this side. */
  get broke(): boolean {
    return this.#broke;
  }

  /** Whether somebody else may use it next: it stands, nothing runs and no transaction is open. */
  get clean(): boolean {
    return this.#lost === undefined && this.#running === 0 && this.#client.getTransactionStatus() === "I";
  }

  /**
   * Runs one statement, after those given before it.
   * @throws {@link DatabaseError} Any code of a statement.
   */
  async execute<Row = Record<string, unknown>>(statement: Statement): Promise<StatementResult<Row>> {
    const next = (): Promise<StatementResult<Row>> => this.#run<Row>(statement);
    const run = this.#running === 0 ? next() : this.#last.then(next, next);
    this.#running++;
    this.#last = run;
    try {
      return await run;
    } finally {
      this.#running--;
    }
  }

  /** Says goodbye. Call it when nothing runs. */
  async close(): Promise<void> {
    if (this.#lost === undefined) {
      this.#onLost = ignore;
      const limit = this.#options.clock.schedule(graceMs, () => this.destroy(), { keepAlive: false });
      await this.#client.end();
      limit.cancel();
    }
    this.#socket.destroy();
  }

  /** Cuts it; what runs fails with `reason`. The server undoes an open transaction. */
  destroy(reason: Error = new Error("the connection was cut")): void {
    this.#socket.destroy(reason);
    this.#lose(reason);
  }

  async #run<Row>(statement: Statement): Promise<StatementResult<Row>> {
    const { clock, statementTimeoutMs } = this.#options;
    const { text, values, operation, undone, signals } = statement;
    throwIfAborted(signals);
    if (this.#lost) throw toDatabaseError(this.#lost, { ...neverSent, operation, statementTimeoutMs });

    const startedAtMs = clock.monotonicMs();
    const cancel: { abortedBy?: { readonly reason: unknown }; done?: Promise<void>; cut?: Scheduled } = {};
    const forget = onAnyAbort(signals, (reason) => {
      const late = new AbortController();
      cancel.abortedBy = { reason };
      cancel.cut = this.#cutAfter(graceMs, () => late.abort());
      cancel.done = this.#cancel(late.signal);
    });
    const guard = statementTimeoutMs > 0 ? this.#cutAfter(statementTimeoutMs + graceMs) : undefined;
    try {
      const { command, rowCount, rows } = lastOf(await this.#client.query<Row & QueryResultRow>(text, [...values]));
      return { command, rowCount: rowCount ?? 0, rows };
    } catch (error) {
      const elapsedMs = clock.monotonicMs() - startedAtMs;
      const connectionLost = this.#lost !== undefined;
      // What failed on this side may have left the session between two messages: nobody can use it any more.
      if (!connectionLost && !(error instanceof PostgresError)) this.destroy();
      const { abortedBy } = cancel;
      throw toDatabaseError(error, { operation, undone, connectionLost, elapsedMs, statementTimeoutMs, abortedBy });
    } finally {
      guard?.cancel();
      forget();
      await cancel.done;
      cancel.cut?.cancel();
    }
  }

  /** Resolves when the request can no longer hit anything but the statement that runs now. */
  async #cancel(signal: AbortSignal): Promise<void> {
    try {
      await this.#requestCancel(signal);
    } catch (error) {
      this.destroy(new Error("the statement could not be cancelled, so its connection was cut", { cause: error }));
    }
  }

  async #requestCancel(signal: AbortSignal): Promise<void> {
    const key = cancelKeyOf(this.#client);
    if (!key) throw new Error("the server gave no key to cancel with");
    if (!this.#client.ssl) {
      await sendCancelRequest(this.#client, key, signal);
      return;
    }
    // The request's key must not cross the network in the open, so it goes as a statement of a second, encrypted session.
    await using control = await Connection.open({ ...this.#options, schema: undefined }, [signal]);
    await control.cancel(key.processId, signal);
  }

  /** Cancels what another session of the same user runs. */
  async cancel(processId: number, signal: AbortSignal): Promise<void> {
    await this.execute({
      text: "select pg_cancel_backend($1)",
      values: [processId],
      operation: "SELECT",
      undone: false,
      signals: [signal],
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #cutAfter(delayMs: number, also: () => void = ignore): Scheduled {
    return this.#options.clock.schedule(delayMs, () => {
      also();
      this.destroy(
        new DatabaseError(
          "ERR_DATABASE_TIMEOUT",
          "deadline_exceeded",
          `the database did not answer within ${delayMs} ms, so the connection was cut`,
        ),
      );
    });
  }

  async #setSchema(schema: string): Promise<void> {
    await this.#client.query("select set_config('search_path', $1, false)", [quoteIdentifier(schema)]);
    const { rows } = await this.#client.query<{ schema: string | null }>("select current_schema() as schema");
    if (rows[0]?.schema === schema) return;
    throw new DatabaseError(
      "ERR_DATABASE_SCHEMA",
      "failed_precondition",
      `schema "${schema}" does not exist, or its use is not granted to "${this.#client.user}"`,
    );
  }

  #lose(error: Error): void {
    if (this.#lost) return;
    this.#lost = error;
    this.#onLost(error);
  }
}

/** A text of several statements, which only one without values can be, has several results. */
function lastOf<R extends QueryResultRow>(results: QueryResult<R> | readonly QueryResult<R>[]): QueryResult<R> {
  if (!("at" in results)) return results;
  return results.at(-1) ?? { command: "", rowCount: 0, rows: [], oid: 0, fields: [] };
}

const neverSent = Object.freeze({ undone: true, connectionLost: true, elapsedMs: 0 });

function ignore(): void {}

function throwIfAborted(signals: readonly AbortSignal[]): void {
  const aborted = signals.find((signal) => signal.aborted);
  if (aborted) throw cancelledBy(aborted.reason);
}

/** Calls `listener` with the reason of the first signal to abort. Returns how to stop listening. */
function onAnyAbort(signals: readonly AbortSignal[], listener: (reason: unknown) => void): () => void {
  let fired = false;
  const handlers = signals.map((signal) => {
    const handler = (): void => {
      if (fired) return;
      fired = true;
      listener(signal.reason);
    };
    signal.addEventListener("abort", handler, { once: true });
    if (signal.aborted) handler();
    return (): void => signal.removeEventListener("abort", handler);
  });
  return () => {
    for (const remove of handlers) remove();
  };
}
