import type { RootOperationNode } from "kysely";

/**
 * Whether a query means the same on any search path: a `select` that kysely alone has written, each table with its schema, calling
 * nothing but what PostgreSQL itself has. Anything written by hand may name a table, and what is written to may have triggers that do.
 */
export function isPlainSelect(query: RootOperationNode): boolean {
  return query.kind === "SelectQueryNode" && isPlain(query);
}

/** Those that kysely has methods for, of PostgreSQL's own. */
const ownFunctions: ReadonlySet<unknown> = new Set(
  "any avg coalesce count json_agg jsonb_agg max min row_number sum to_json to_jsonb".split(" "),
);
const ordering = /^\s*(?:asc|desc)?\s*(?:nulls (?:first|last))?\s*$/i;

function isPlain(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (Array.isArray(value)) return value.every(isPlain);
  const kind = "kind" in value ? value.kind : undefined;
  switch (kind) {
    case "ValueNode":
    case "PrimitiveValueListNode":
      return true; // what a caller gave: it is no part of the text
    case "RawNode":
      return "sqlFragments" in value && Array.isArray(value.sqlFragments) && value.sqlFragments.every(isOrdering);
    case "FunctionNode":
    case "AggregateFunctionNode":
      if (!("func" in value && ownFunctions.has(value.func))) return false;
      break;
    case "FromNode":
      if (!("froms" in value && Array.isArray(value.froms) && value.froms.every(isPlaced))) return false;
      break;
    case "JoinNode":
      if (!("table" in value && isPlaced(value.table))) return false;
      break;
    case "InsertQueryNode":
    case "UpdateQueryNode":
    case "DeleteQueryNode":
    case "MergeQueryNode":
      return false;
    default:
  }
  const parts: readonly unknown[] = Object.values(value);
  return parts.every(isPlain);
}

function isOrdering(fragment: unknown): boolean {
  return typeof fragment === "string" && ordering.test(fragment);
}

/** Whether what is read from has its schema, or is a query of its own. */
function isPlaced(node: unknown): boolean {
  if (typeof node !== "object" || node === null || !("kind" in node)) return false;
  if (node.kind === "AliasNode") return "node" in node && isPlaced(node.node);
  if (node.kind !== "TableNode") return node.kind === "SelectQueryNode" || node.kind === "ParensNode";
  const table = "table" in node ? node.table : undefined;
  return typeof table === "object" && table !== null && "schema" in table && table.schema !== undefined;
}
