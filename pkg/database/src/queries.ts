import { currentContext, deriveContext, OptionError, requireWhole, runInContext } from "@plinth/kernel";
import type { CompiledQuery, Kysely, RawBuilder } from "kysely";
import { levelOf } from "./postgres/dialect.ts";
import type { Level } from "./postgres/level.ts";
import { transactOn, type TransactionOptions } from "./transaction.ts";

/** No tables declared: only `sql` and the schema builder are of use. */
export type NoTables = object;

export interface QueryOptions {
  /** Cancels the statement at the server, as the signal of the current request does anyway. */
  readonly signal?: AbortSignal;
}

export interface StreamOptions extends QueryOptions {
  /** Rows that are fetched, and kept, at a time, 1 to 100_000. Default 100. */
  readonly batchSize?: number;
}

export interface QueryRows<Row> {
  readonly rows: readonly Row[];
  /** Rows that an insert, update, delete or merge touched; 0 for anything else. */
  readonly affectedRows: number;
}

/** What a database, a connection and a transaction have in common. Code that takes this works in each. */
export interface Queries<Tables = NoTables> {
  /** Typed queries. Do not destroy it: the pool behind it belongs to the `Database`. */
  readonly kysely: Kysely<Tables>;
  /**
   * Runs one statement of a `sql` template, whose values travel apart from the text.
   * @throws {@link DatabaseError}; {@link OptionError} `ERR_OPTION_TYPE` for anything but a statement made with `sql`.
   * @example const { rows } = await db.query(sql<{ id: string }>`select id from notes where subject = ${subject}`);
   */
  query<Row>(statement: RawBuilder<Row>, options?: QueryOptions): Promise<QueryRows<Row>>;
  /**
   * The rows of a statement one by one, fetched in parts by a cursor as they are read: a result larger than memory is no matter. The connection is
   * held from the first row to the last, and given back when the loop ends, however it ends; within a transaction or on a connection nothing
   * else can be asked meanwhile. `statementTimeoutMs` holds for each part; whoever reads no further for `idleInTransactionTimeoutMs` loses it.
   * What a streamed `insert … returning` does is committed when the loop ends, and undone when it is cancelled.
   *
   * @param statement - Made with `sql`, or compiled by kysely.
   * @throws {@link DatabaseError} at once `ERR_DATABASE_BUSY`; while reading any code of a statement. {@link OptionError} as {@link query}.
   * @example for await (const { id } of db.stream(db.kysely.selectFrom("notes").select("id").compile())) await index(id);
   */
  stream<Row>(
    statement: RawBuilder<Row> | CompiledQuery<Row>,
    options?: StreamOptions,
  ): AsyncGenerator<Row, void, void>;
  /**
   * Commits what `fn` did when it resolves; rolls it back when it throws, or when `signal`, or that of the request, aborts first. Await every query
   * inside. Within a transaction it is a savepoint: what fails takes back its own part, and the transaction goes on.
   *
   * @throws what `fn` throws; {@link DatabaseError} `ERR_DATABASE_CONFLICT` when it should be run again, `ERR_DATABASE_OUTCOME_UNKNOWN` when the
   *   connection broke during the commit.
   */
  transaction<T>(fn: (tx: Queries<Tables>) => Promise<T>, options?: TransactionOptions): Promise<T>;
}

const defaultBatchSize = 100;

/** What all that has a `Kysely` can do. */
export abstract class KyselyQueries<Tables> implements Queries<Tables> {
  abstract readonly kysely: Kysely<Tables>;
  abstract transaction<T>(fn: (tx: Queries<Tables>) => Promise<T>, options?: TransactionOptions): Promise<T>;

  async query<Row>(statement: RawBuilder<Row>, { signal }: QueryOptions = {}): Promise<QueryRows<Row>> {
    requireStatement(statement, "execute");
    const { kysely } = this;
    const compiled = statement.compile(kysely);
    const executor = kysely.getExecutor();
    const { rows, numAffectedRows } = signal
      ? await withSignal(signal, () => executor.executeQuery<Row>(compiled))
      : await executor.executeQuery<Row>(compiled);
    return { rows, affectedRows: numAffectedRows === undefined ? 0 : Number(numAffectedRows) };
  }

  stream<Row>(
    statement: RawBuilder<Row> | CompiledQuery<Row>,
    { batchSize = defaultBatchSize, signal }: StreamOptions = {},
  ): AsyncGenerator<Row, void, void> {
    requireStatement(statement, "execute", "queryId");
    requireWhole("batchSize", batchSize, { min: 1, max: 100_000 });
    const compiled = "compile" in statement ? statement.compile(this.kysely) : statement;
    const executor = this.kysely.getExecutor();
    // Begun in the context that it is asked for in: its signal is the one that counts, wherever the rows are read.
    const parts = withSignal(signal, () => executor.stream<Row>(compiled, batchSize));
    return rowsOf(parts);
  }
}

class LevelQueries<Tables> extends KyselyQueries<Tables> {
  readonly kysely: Kysely<Tables>;
  readonly #level: () => Promise<Level>;

  constructor(kysely: Kysely<Tables>, level: () => Promise<Level>) {
    super();
    this.kysely = kysely;
    this.#level = level;
  }

  async transaction<T>(fn: (tx: Queries<Tables>) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const outer = await this.#level();
    return withSignal(options.signal, () => transactOn(outer, (level) => fn(queriesOn(level)), options));
  }
}

/** All on the connection of `level`, for as long as that is open. */
export function queriesOn<Tables>(level: Level): Queries<Tables> {
  return new LevelQueries<Tables>(level.lease.source.kyselyOn<Tables>(level), async () => level);
}

/** The same for what kysely's own `connection()` and `transaction()` hand in. */
export function queriesOf<Tables>(kysely: Kysely<Tables>): Queries<Tables> {
  return new LevelQueries<Tables>(kysely, () =>
    kysely.getExecutor().provideConnection(async (connection) => levelOf(connection)),
  );
}

/** Runs `fn` so that `signal`, beside the request's own, cancels the statements in it. */
export function withSignal<T>(signal: AbortSignal | undefined, fn: () => T): T {
  if (!signal) return fn();
  const context = currentContext();
  const both = context?.signal ? AbortSignal.any([context.signal, signal]) : signal;
  return runInContext(deriveContext(context, { signal: both }), fn);
}

async function* rowsOf<Row>(parts: AsyncIterable<{ readonly rows: readonly Row[] }>): AsyncGenerator<Row, void, void> {
  for await (const { rows } of parts) yield* rows;
}

/** @throws {@link OptionError} `ERR_OPTION_TYPE` for what is made of strings. */
function requireStatement(statement: unknown, ...marks: readonly string[]): void {
  if (typeof statement === "object" && statement !== null && marks.some((mark) => mark in statement)) return;
  throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", "statement must be made with sql`…`, never a string");
}
