import type { Socket } from "node:net";
import { type Clock, runOutsideContext } from "@plinth/kernel";
import { Client } from "pg";
import { DatabaseError } from "../errors.ts";
import { throwIfAborted } from "./abort.ts";
import { nameOf } from "./address.ts";
import { cancelKeyOf, sendCancelRequest } from "./cancel.ts";
import type { RowCursor, Statement, StatementResult } from "./exchange.ts";
import type { Endpoint, Hosts } from "./hosts.ts";
import { type PoolerMode, scopeText } from "./pooler.ts";
import { graceMs, StatementRunner } from "./runner.ts";
import { prepareSession, readOnlyNow, startupParameters } from "./session.ts";
import { socketTo } from "./socket.ts";
import { toConnectError } from "./sqlstate.ts";
import { toTlsError } from "./tls.ts";

export type { Statement, StatementResult } from "./exchange.ts";

export interface ConnectionOptions {
  readonly server: Hosts;
  /** What unqualified names mean; undefined leaves the server's search path, for creating the schema. */
  readonly schema: string | undefined;
  readonly applicationName: string;
  readonly statementTimeoutMs: number;
  readonly idleInTransactionTimeoutMs: number;
  readonly pooler: PoolerMode;
  readonly clock: Clock;
}

/** An unused connection whose other end has gone without a word is found by the system after this and ten probes of a second. */
const keepAliveAfterMs = 10_000;

/** One session at the server: its schema set, its statements one after the other, each of them cancellable. */
export class Connection {
  /** When the pool is to part with it, in milliseconds of the monotonic clock. */
  retireAtMs = Infinity;
  readonly #client: Client;
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #endpoint: Endpoint;
  readonly #runner: StatementRunner;
  #lost: Error | undefined;
  #broke = false;
  #silent = false;
  #takesWrites = true;
  #pathIsOurs = true;
  #onLost: (error: Error) => void = () => {};

  private constructor(client: Client, socket: Socket, endpoint: Endpoint, options: ConnectionOptions) {
    this.#client = client;
    this.#socket = socket;
    this.#endpoint = endpoint;
    this.#options = options;
    this.#runner = new StatementRunner(client, {
      clock: options.clock,
      statementTimeoutMs: options.statementTimeoutMs,
      scope: options.pooler === "transaction" ? scopeText(options) : undefined,
      cancel: (signal) => this.#requestCancel(signal),
      cut: (reason) => {
        this.#silent ||= reason instanceof DatabaseError && reason.code === "ERR_DATABASE_TIMEOUT";
        this.destroy(reason);
      },
    });
    // Without a listener an idle connection that the server drops would end the process.
    const onBreak = (error: Error): void => {
      this.#broke ||= this.#lost === undefined;
      this.#lose(error);
    };
    client.on("error", onBreak);
    client.on("end", () => onBreak(new Error("the connection has ended")));
  }

  /**
   * Connects to one of the hosts, logs in and sets the schema, all within the server's `connectTimeoutMs`.
   * @throws {@link DatabaseError} `ERR_DATABASE_UNAVAILABLE`, `ERR_DATABASE_ACCESS`, `ERR_DATABASE_SCHEMA`, `ERR_DATABASE_TLS`,
   *   `ERR_DATABASE_READ_ONLY`, `ERR_DATABASE_CANCELLED`.
   */
  static open(options: ConnectionOptions, signals: readonly AbortSignal[] = []): Promise<Connection> {
    // Outside of any request: the socket outlives the one that opens it.
    return runOutsideContext(() => {
      throwIfAborted(signals);
      return options.server.connect(signals, (endpoint) => Connection.#logIn(options, endpoint));
    });
  }

  static async #logIn(options: ConnectionOptions, endpoint: Endpoint): Promise<Connection> {
    const { server, applicationName } = options;
    const { user, database, options: sessionOptions, applicationName: ownName = applicationName } = server.url;
    const { signal, password } = endpoint;
    signal.throwIfAborted();
    const socket = socketTo(endpoint);
    const client = new Client({
      host: endpoint.tlsName, // the socket knows where to connect to; pg has TLS look for this name
      port: endpoint.port,
      user,
      database,
      ...(password === undefined ? {} : { password }),
      ...(sessionOptions === undefined ? {} : { options: sessionOptions }),
      ssl: endpoint.tls ?? false,
      application_name: ownName,
      ...startupParameters(options),
      keepAlive: true,
      keepAliveInitialDelayMillis: keepAliveAfterMs,
      stream: () => socket,
    });
    const connection = new Connection(client, socket, endpoint, options);
    const cut = (): void => void socket.destroy();
    signal.addEventListener("abort", cut, { once: true });
    try {
      await client.connect();
      await connection.#setUp();
      return connection;
    } catch (error) {
      connection.destroy();
      if (signal.aborted) throw signal.reason;
      throw toTlsError(error, nameOf(endpoint)) ?? toConnectError(error);
    } finally {
      signal.removeEventListener("abort", cut);
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

  /** Why it can be used no more; undefined as long as it can. */
  get lost(): Error | undefined {
    return this.#lost;
  }

  /** Whether it ended without being closed or cut from this side. */
  get broke(): boolean {
    return this.#broke;
  }

  /** Whether it was cut because the server did not answer in time. */
  get silent(): boolean {
    return this.#silent;
  }

  /** Whether its server took writes when it was opened. */
  get takesWrites(): boolean {
    return this.#takesWrites;
  }

  /** Whether the server has refused a write since {@link stillTakesWrites} was asked last. */
  get refusedWrite(): boolean {
    return this.#runner.refusedWrite;
  }

  /** What it was opened with. */
  get limits(): Pick<ConnectionOptions, "clock" | "idleInTransactionTimeoutMs" | "statementTimeoutMs"> {
    return this.#options;
  }

  /** What begins a transaction sets here, since nothing else outlives one; undefined where the session is ours alone. */
  get scope(): string | undefined {
    return this.#options.pooler === "transaction" ? scopeText(this.#options) : undefined;
  }

  /** Whether unqualified names are in the schema outside of transactions too. */
  get pathIsOurs(): boolean {
    return this.#pathIsOurs;
  }

  /** Whether somebody else may use it next: it stands, nothing runs and no transaction is open. */
  get clean(): boolean {
    return this.#lost === undefined && !this.#runner.busy && this.#client.getTransactionStatus() === "I";
  }

  /**
   * Runs one statement, after those given before it.
   * @throws {@link DatabaseError} Any code of a statement.
   */
  execute<Row = Record<string, unknown>>(statement: Statement): Promise<StatementResult<Row>> {
    return this.#runner.execute<Row>(statement);
  }

  /** As {@link StatementRunner.openCursor}. */
  openCursor<Row>(statement: Statement): Promise<RowCursor<Row>> {
    return this.#runner.openCursor<Row>(statement);
  }

  /** As {@link StatementRunner.fetch}. */
  fetch<Row>(cursor: RowCursor<Row>, maxRows: number, statement: Statement): Promise<Row[]> {
    return this.#runner.fetch<Row>(cursor, maxRows, statement);
  }

  /** As {@link StatementRunner.closeCursor}. */
  closeCursor(cursor: RowCursor<unknown>): Promise<void> {
    return this.#runner.closeCursor(cursor);
  }

  /** Takes back what a user may have set on the session, as far as it is ours alone; where that fails the connection is cut. */
  async reset(): Promise<void> {
    if (this.#options.pooler === "transaction") return;
    const limit = this.#options.clock.schedule(graceMs, () => this.destroy());
    try {
      await this.execute({ text: "discard all", values: [], operation: "OTHER", undone: true, signals: [] });
      await this.#setUp();
    } catch (error) {
      this.destroy(error instanceof Error ? error : undefined);
    } finally {
      limit.cancel();
    }
  }

  /** Asks the server whether it takes writes, after it has refused one: the transaction alone may have been read-only. */
  async stillTakesWrites(): Promise<boolean> {
    this.#runner.refusedWrite = false;
    const limit = this.#options.clock.schedule(graceMs, () => this.destroy());
    try {
      const text = `select ${readOnlyNow} as "readOnly"`;
      const statement = { text, values: [], operation: "SELECT", undone: true, signals: [] };
      const { rows } = await this.execute<{ readOnly: boolean }>(statement);
      return rows[0]?.readOnly !== true;
    } finally {
      limit.cancel();
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

  async #requestCancel(signal: AbortSignal): Promise<void> {
    const key = cancelKeyOf(this.#client);
    if (!key) throw new Error("the server gave no key to cancel with");
    // where the connection leads to, not where its name does by now
    const { remoteAddress: host = this.#endpoint.host } = this.#socket;
    await sendCancelRequest({ host, port: this.#endpoint.port, tls: this.#endpoint.tls }, key, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #setUp(): Promise<void> {
    const { schema } = this.#options;
    const facts = await prepareSession(this.#client, this.processId, this.#options);
    this.#takesWrites = !facts.readOnly;
    this.#pathIsOurs = facts.pathIsOurs;
    if (this.#endpoint.mustWrite && !this.#takesWrites) {
      const says = "the server takes no writes: it is a standby, or was set to read only";
      throw new DatabaseError("ERR_DATABASE_READ_ONLY", "unavailable", says);
    }
    if (schema === undefined || facts.schema === schema) return;
    throw new DatabaseError(
      "ERR_DATABASE_SCHEMA",
      "failed_precondition",
      `schema "${schema}" does not exist, or its use is not granted to "${this.#client.user}"`,
    );
  }

  #lose(error: Error): void {
    if (this.#lost) return;
    this.#lost = error;
    this.#runner.lose(error);
    this.#onLost(error);
  }
}

function ignore(): void {}
