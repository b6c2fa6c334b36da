import { currentContext, deriveContext, OptionError, runInContext } from "@plinth/kernel";
import type { Kysely, RawBuilder } from "kysely";

/** No tables declared: only `sql` and the schema builder are of use. */
export type NoTables = object;

export interface QueryOptions {
  /** Cancels the statement at the server, as the signal of the current request does anyway. */
  readonly signal?: AbortSignal;
}

export interface QueryRows<Row> {
  readonly rows: readonly Row[];
  /** Rows that an insert, update, delete or merge touched; 0 for anything else. */
  readonly affectedRows: number;
}

/** What a database and a transaction have in common. Code that takes this works in either. */
export interface Queries<Tables = NoTables> {
  /** Typed queries. Do not destroy it: the pool behind it belongs to the `Database`. */
  readonly kysely: Kysely<Tables>;
  /**
   * Runs one statement of a `sql` template, whose values travel apart from the text.
   * @example const { rows } = await db.query(sql<{ id: string }>`select id from notes where subject = ${subject}`);
   */
  query<Row>(statement: RawBuilder<Row>, options?: QueryOptions): Promise<QueryRows<Row>>;
}

/** What a database, a transaction and a migration have in common, on one `Kysely`. */
export function queriesOf<Tables>(kysely: Kysely<Tables>): Queries<Tables> {
  return { kysely, query: (statement, options) => runStatement(kysely, statement, options) };
}

/** @throws {@link OptionError} `ERR_OPTION_TYPE` for anything but a statement made with `sql`. */
export async function runStatement<Tables, Row>(
  kysely: Kysely<Tables>,
  statement: RawBuilder<Row>,
  options: QueryOptions = {},
): Promise<QueryRows<Row>> {
  if (typeof statement !== "object" || !("execute" in statement)) {
    throw new OptionError("ERR_OPTION_TYPE", "invalid_argument", "statement must be made with sql`…`, never a string");
  }
  const { rows, numAffectedRows = 0n } = await withSignal(options.signal, () => statement.execute(kysely));
  return { rows, affectedRows: Number(numAffectedRows) };
}

/** Runs `fn` so that `signal`, beside the request's own, cancels the statements in it. */
export function withSignal<T>(signal: AbortSignal | undefined, fn: () => T): T {
  if (!signal) return fn();
  const context = currentContext();
  const both = context?.signal ? AbortSignal.any([context.signal, signal]) : signal;
  return runInContext(deriveContext(context, { signal: both }), fn);
}
