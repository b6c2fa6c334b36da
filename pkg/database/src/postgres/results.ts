import type { StatementResult } from "./exchange.ts";

/** pg asks for an array that it could change, and changes none. */
export function mutable(values: readonly unknown[]): unknown[] {
  return Array.isArray(values) ? values : [...values];
}

/** What is taken of a result of pg's. */
interface ServerResult<Row> {
  readonly command: string;
  readonly rowCount: number | null;
  readonly rows: Row[];
}

export type Results<Row> = ServerResult<Row> | readonly ServerResult<Row>[];

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
function lastOf<Row>(results: Results<Row>): ServerResult<Row> {
  if (!("at" in results)) return results;
  return results.at(-1) ?? { command: "", rowCount: 0, rows: [] };
}
