import type { Client } from "pg";
import { DatabaseError } from "../errors.ts";
import { quoteIdentifier } from "../schema-name.ts";
import { type PoolerMode, scopeText, type TransactionScope } from "./pooler.ts";

export interface SessionOptions extends TransactionScope {
  readonly pooler: PoolerMode;
}

/** What pg asks of the server while it logs in. A pooler refuses what is not here, for it cannot give it to whom it hands the session. */
export function startupParameters({ pooler, statementTimeoutMs, idleInTransactionTimeoutMs }: SessionOptions): {
  readonly statement_timeout?: number;
  readonly idle_in_transaction_session_timeout?: number;
} {
  if (pooler !== "none") return {};
  return {
    statement_timeout: statementTimeoutMs,
    idle_in_transaction_session_timeout: idleInTransactionTimeoutMs,
  };
}

/** In SQL: a standby, or a server or role that was set so. */
export const readOnlyNow = "(pg_is_in_recovery() or current_setting('transaction_read_only')::bool)";

export interface SessionFacts {
  /** What unqualified names mean; null where the schema is absent or may not be used. */
  readonly schema: string | null;
  readonly readOnly: boolean;
  /** Whether they mean the schema also where nothing was set, because the role's own search path says so. */
  readonly pathIsOurs: boolean;
}

type Facts = Omit<SessionFacts, "pathIsOurs">;

const factsText = `select current_schema() as schema, ${readOnlyNow} as "readOnly"`;

/**
 * Makes a new connection mean `schema` by unqualified names, as far as the pooler lets it, and looks what they mean then.
 *
 * @param processId - What the server said at the log-in.
 * @throws {@link DatabaseError} `ERR_DATABASE_UNSUPPORTED` when a pooler stands in between that was not told of; and what pg throws.
 */
export async function prepareSession(
  client: Client,
  processId: number | undefined,
  options: SessionOptions,
): Promise<SessionFacts> {
  const { schema, pooler } = options;
  if (pooler === "transaction" && schema !== undefined) return prepareTransactions(client, schema);
  if (pooler === "session") await setForSession(client, options);
  if (pooler === "none" && schema !== undefined) await setUnpooled(client, processId, schema);
  const { rows } = await client.query<Facts>(factsText);
  return { schema: null, readOnly: false, ...rows[0], pathIsOurs: true };
}

/** Nothing is set on a session that turns out to be somebody else's as well. */
async function setUnpooled(client: Client, processId: number | undefined, schema: string): Promise<void> {
  const { rows } = await client.query<{ path: string | null }>(
    "select case when pg_backend_pid() = $1 then set_config('search_path', $2, false) end as path",
    [processId, quoteIdentifier(schema)],
  );
  if (rows[0]?.path !== null) return;
  throw new DatabaseError(
    "ERR_DATABASE_UNSUPPORTED",
    "failed_precondition",
    'the session is not with the server that was logged in to: there is a pooler in between; set pooler to "session" or "transaction", as it is set up',
  );
}

/** Left on a session that is ours alone. Whoever finds it has been given one that was, or still is, somebody else's. */
const mark = "plinth.session";

/** Nothing is set on a session that turns out to be shared, or not to have been cleaned. */
async function setForSession(client: Client, options: SessionOptions): Promise<void> {
  const { schema, statementTimeoutMs, idleInTransactionTimeoutMs } = options;
  const wanted = [
    [mark, "ours"],
    ["search_path", schema === undefined ? "" : quoteIdentifier(schema)],
    ["statement_timeout", statementTimeoutMs > 0 ? String(statementTimeoutMs) : ""],
    ["idle_in_transaction_session_timeout", idleInTransactionTimeoutMs > 0 ? String(idleInTransactionTimeoutMs) : ""],
  ].filter(([, value]) => value !== "");
  const calls = wanted.map((_, place) => `set_config($${2 * place + 1}, $${2 * place + 2}, false)`);
  const { rows } = await client.query<{ path: string | null }>(
    `select case when coalesce(current_setting('${mark}', true), '') = '' then ${calls.join(" || ")} end as path`,
    wanted.flat(),
  );
  if (rows[0]?.path !== null) return;
  throw new DatabaseError(
    "ERR_DATABASE_UNSUPPORTED",
    "failed_precondition",
    'the pooler gave a session that another client has used and that was not reset: it hands out transactions, so set pooler to "transaction"; or, if it does hand out sessions, set its server_reset_query to DISCARD ALL',
  );
}

/** In one message: what the role's own path is, where nobody has set another one, and what it is in one of our transactions. */
async function prepareTransactions(client: Client, schema: string): Promise<SessionFacts> {
  const scope = scopeText({ schema, statementTimeoutMs: 0, idleInTransactionTimeoutMs: 0 });
  const own = `select case when source <> 'session' then current_schema() end as schema from pg_catalog.pg_settings where name = 'search_path'`;
  const answer: unknown = await client.query(`begin; ${own}; ${scope}; ${factsText}; commit`);
  const [before, now] = rowsIn(answer);
  return {
    schema: typeof now?.["schema"] === "string" ? now["schema"] : null,
    readOnly: now?.["readOnly"] === true,
    pathIsOurs: before?.["schema"] === schema,
  };
}

/** A text of several statements has several results, which pg's types do not tell. */
function rowsIn(answer: unknown): readonly Readonly<Record<string, unknown>>[] {
  const results: readonly unknown[] = Array.isArray(answer) ? answer : [];
  return results.flatMap((result) => {
    if (typeof result !== "object" || result === null || !("rows" in result) || !Array.isArray(result.rows)) return [];
    const rows: readonly unknown[] = result.rows;
    return rows.filter(isRecord);
  });
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
