import type { QueryResult, QueryResultRow } from "pg";

/** pg asks for an array that it could change, and changes none. */
export function mutable(values: readonly unknown[]): unknown[] {
  return Array.isArray(values) ? values : [...values];
}

/** A text of several statements, which only one without values can be, has several results. */
export function lastOf<R extends QueryResultRow>(results: QueryResult<R> | readonly QueryResult<R>[]): QueryResult<R> {
  if (!("at" in results)) return results;
  return results.at(-1) ?? { command: "", rowCount: 0, rows: [], oid: 0, fields: [] };
}
