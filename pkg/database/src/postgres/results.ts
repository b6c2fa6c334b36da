import type { QueryResult, QueryResultRow } from "pg";

/** pg asks for an array that it could change, and changes none. */
export function mutable(values: readonly unknown[]): unknown[] {
  return Array.isArray(values) ? values : [...values];
}

export interface StatementResult<Row> {
  readonly command: string;
  readonly rowCount: number;
  readonly rows: Row[];
  /** Of what writes; as kysely has it. */
  readonly numAffectedRows?: bigint;
}

export type Results<Row> = QueryResult<Row & QueryResultRow> | readonly QueryResult<Row & QueryResultRow>[];

const writes: ReadonlySet<string> = new Set(["INSERT", "UPDATE", "DELETE", "MERGE"]);

/** What pg tells of a statement. */
export function toResult<Row>(results: Results<Row>): StatementResult<Row> {
  const { command, rowCount: count, rows } = lastOf(results);
  const rowCount = count ?? 0;
  return writes.has(command)
    ? { command, rowCount, rows, numAffectedRows: BigInt(rowCount) }
    : { command, rowCount, rows };
}

/** A text of several statements, which only one without values can be, has several results. */
function lastOf<R extends QueryResultRow>(results: QueryResult<R> | readonly QueryResult<R>[]): QueryResult<R> {
  if (!("at" in results)) return results;
  return results.at(-1) ?? { command: "", rowCount: 0, rows: [], oid: 0, fields: [] };
}
