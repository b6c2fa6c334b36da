import { OptionError } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import { quoteIdentifier } from "../schema-name.ts";
import { withoutValues } from "../statement.ts";

/**
 * What stands between this client and the server. `session`: a pooler that keeps one server connection for each of ours.
 * `transaction`: one that gives any server connection to each transaction, so that nothing may hang on a session.
 */
export type PoolerMode = "none" | "session" | "transaction";

export const poolerModes = ["none", "session", "transaction"] as const satisfies readonly PoolerMode[];

/** @throws {@link OptionError} `ERR_OPTION_RANGE`, beginning with `pooler`. */
export function requirePoolerMode(mode: string): asserts mode is PoolerMode {
  if (poolerModes.some((known) => known === mode)) return;
  const message = `pooler must be one of ${poolerModes.join(", ")}, not ${JSON.stringify(mode).slice(0, 80)}`;
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", message);
}

/** What holds for one transaction behind a pooler, since nothing holds for a session. */
export interface TransactionScope {
  readonly schema: string | undefined;
  readonly statementTimeoutMs: number;
  readonly idleInTransactionTimeoutMs: number;
}

/** What follows `begin` in the same message; ends with its transaction, so that no other client of the server connection sees it. */
export function scopeText({ schema, statementTimeoutMs, idleInTransactionTimeoutMs }: TransactionScope): string {
  return [
    schema === undefined ? "" : `set local search_path to ${quoteIdentifier(schema)}`,
    statementTimeoutMs > 0 ? `set local statement_timeout to ${statementTimeoutMs}` : "",
    idleInTransactionTimeoutMs > 0
      ? `set local idle_in_transaction_session_timeout to ${idleInTransactionTimeoutMs}`
      : "",
  ]
    .filter((part) => part !== "")
    .join("; ");
}

interface Rule {
  readonly pattern: RegExp;
  readonly instead: string;
}

/** In a text without literals and comments. `^` is the beginning of each of its statements. */
const rules: readonly Rule[] = [
  { pattern: /^set (?!local\b|transaction\b|constraints\b)/, instead: "write `set local` in a transaction" },
  { pattern: /^reset\b/, instead: "write `set local` in a transaction, which its end takes back" },
  { pattern: /^discard\b/, instead: "leave it to the pooler" },
  { pattern: /^(?:un)?listen\b/, instead: "listen through a database of its own, opened without the pooler" },
  { pattern: /^(?:prepare|deallocate)\b/, instead: "send the statement itself" },
  { pattern: /^load\b/, instead: "set session_preload_libraries of the role" },
  {
    pattern: /^(?:begin|start transaction|commit|end|abort|rollback(?! (?:work |transaction )?to\b))\b/,
    instead: "use `transaction()`",
  },
  {
    pattern: /^declare\b.*\bwith hold\b/,
    instead: "use `stream()`",
  },
  {
    pattern:
      /^(?:create (?:local |global )?|select\b.*\binto (?:local |global )?)temp(?:orary)?\b(?!.*\bon commit drop\b)/,
    instead: "write `on commit drop` and use it in the same transaction",
  },
  {
    pattern: /\bpg_(?:try_)?advisory_(?:un)?lock(?:_shared|_all)? ?\(/,
    instead: "use pg_advisory_xact_lock, which the end of the transaction gives back",
  },
  {
    pattern: /\bset_config ?\((?:[^()]|\([^()]*\))*, ?(?:false|\?|f) ?\)/,
    instead: "call set_config with true as its third argument in a transaction",
  },
];

const maxCached = 1_000;
const maxCachedLength = 10_000;

/**
 * Finds what would change, or hang on, a session that is not ours: in a pooler's transaction mode the next client would have it.
 * What a function or a `do` block does is not seen. Keeps what it found by text, as a service runs a few texts many times.
 *
 * @returns A function that throws {@link DatabaseError} `ERR_DATABASE_UNSUPPORTED`, saying what to do instead.
 */
export function sessionGuard(): (sql: string) => void {
  const cache = new Map<string, string>();
  return (sql) => {
    let refusal = cache.get(sql);
    if (refusal === undefined) {
      refusal = refusalOf(sql);
      if (cache.size >= maxCached) cache.clear();
      if (sql.length <= maxCachedLength) cache.set(sql, refusal);
    }
    if (refusal !== "") throw new DatabaseError("ERR_DATABASE_UNSUPPORTED", "unimplemented", refusal);
  };
}

function refusalOf(sql: string): string {
  const whole = withoutValues(sql).toLowerCase();
  // The statements of a function's body end in semicolons too, where it is not written as a literal.
  const statements = whole.includes("begin atomic") ? [whole] : whole.split(";");
  for (const statement of statements) {
    const text = statement.trim().replaceAll(/\s+/g, " ");
    const rule = rules.find(({ pattern }) => pattern.test(text));
    if (rule)
      return `${text.split(/[ (]/)[0]?.toUpperCase() ?? ""}: a session is shared with others where pooler is "transaction"; ${rule.instead}`;
  }
  return "";
}

/** What PgBouncer says of itself: no server has said where in its source an error came from. */
export function isPoolerError(error: {
  readonly code?: string | undefined;
  readonly routine?: string | undefined;
}): boolean {
  return error.code === "08P01" && error.routine === undefined;
}

/** What PgBouncer says when it had no server connection to give: the statement never left it. */
const neverSent = /query_wait_timeout|cannot connect to server|login has been failing|server_login_retry/;
/** What it says of whom it does not let in, also on another try. */
const notLetIn = /authentication failed|no such (?:user|database)|not allowed|permission denied|auth_query/;

export type PoolerFault = "never-sent" | "access" | "parameter" | "lost";

export function poolerFaultOf(message: string): PoolerFault {
  if (/unsupported startup parameter/.test(message)) return "parameter";
  if (notLetIn.test(message)) return "access";
  return neverSent.test(message) ? "never-sent" : "lost";
}
