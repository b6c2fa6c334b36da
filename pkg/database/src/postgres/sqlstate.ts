import { AppError, messageOf, Secret, type Status } from "@plinth/kernel";
import { DatabaseError as PostgresError } from "pg";
import { DatabaseError, type DatabaseErrorCode, type ServerFacts } from "../errors.ts";
import { keyColumns } from "./key-columns.ts";
import { readsOnly } from "../statement.ts";
import { isPoolerError, poolerFaultOf } from "./pooler.ts";

/** What was going on when a statement failed. */
export interface Circumstances {
  /** First word of the statement: `SELECT`, `COMMIT`. */
  readonly operation: string;
  /** The statement stood in a transaction that was not being committed, so the server has undone it. */
  readonly undone: boolean;
  /** False when it failed on this side of a connection that still stands, for instance because a value cannot be sent. */
  readonly connectionLost: boolean;
  readonly elapsedMs: number;
  /** What the server was told to allow, in milliseconds; 0 for no limit. */
  readonly statementTimeoutMs: number;
  /** The reason of the signal that made us cancel the statement. */
  readonly abortedBy?: { readonly reason: unknown } | undefined;
}

interface Kind {
  readonly code: DatabaseErrorCode;
  readonly status: Status;
  readonly says: string;
}

const unavailable = (says: string): Kind => ({ code: "ERR_DATABASE_UNAVAILABLE", status: "unavailable", says });
const lost: Kind = {
  code: "ERR_DATABASE_CONNECTION_LOST",
  status: "unavailable",
  says: "the connection to the database was lost",
};
const access: Kind = { code: "ERR_DATABASE_ACCESS", status: "internal", says: "the database refused access" };
const conflict: Kind = {
  code: "ERR_DATABASE_CONFLICT",
  status: "aborted",
  says: "the transaction met another one and was undone; run it again from its beginning",
};

const noServerConnection = unavailable("the pooler has no connection to the database for this service");

/** Whole SQLSTATEs first, then classes (their first two characters). */
const kinds: Readonly<Record<string, Kind>> = Object.freeze({
  "23505": { code: "ERR_DATABASE_UNIQUE", status: "already_exists", says: "a row with the same key exists already" },
  "23503": {
    code: "ERR_DATABASE_FOREIGN_KEY",
    status: "failed_precondition",
    says: "a row refers to one that does not exist, or is still referred to",
  },
  "23502": { code: "ERR_DATABASE_NOT_NULL", status: "invalid_argument", says: "a required value is missing" },
  "23514": { code: "ERR_DATABASE_CHECK", status: "invalid_argument", says: "a value breaks a rule of its table" },
  "23P01": { code: "ERR_DATABASE_UNIQUE", status: "already_exists", says: "the row conflicts with one that exists" },
  "25006": { code: "ERR_DATABASE_READ_ONLY", status: "unavailable", says: "the database takes no writes now" },
  "25P03": { ...lost, says: "the transaction was idle for too long, and the server ended it" },
  "25P04": { ...lost, says: "the transaction took longer than the server allows, and the server ended it" },
  "40001": conflict,
  "40P01": conflict,
  "42501": access,
  "53300": unavailable("the database has no connection left for this service"),
  "55P03": { ...conflict, says: "a lock could not be had in time" },
  "57P01": lost,
  "57P02": lost,
  "57P03": unavailable("the database is starting or stopping"),
  "57P05": lost,
  "08": lost,
  "08P01": {
    code: "ERR_DATABASE_QUERY",
    status: "internal",
    says: "the statement and its values do not belong together",
  },
  "28": access,
  "3D": access,
  "53": unavailable("the database is out of a resource"), // not `resource_exhausted`: callers would be told that they ask too much
});

const anyOther: Kind = { code: "ERR_DATABASE_QUERY", status: "internal", says: "the statement failed" };
/** Classes whose texts hold names and SQL alone. All others (data exceptions, constraints, `raise`) may quote values. */
const classesWithoutValues = new Set(["08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57"]);

/** Frames of the stack of a failed statement: enough to reach through kysely and this package to whoever made it. */
const stackFrames = 50;

/**
 * What a failed statement is to its caller: one {@link DatabaseError}, whatever pg threw. Called in the function that has awaited the answer,
 * its stack goes on, along the awaits, to the line that made the statement.
 */
export function toDatabaseError(thrown: unknown, circumstances: Circumstances): DatabaseError {
  return withLongStack(() => ofStatement(thrown, circumstances));
}

/** Makes an error whose stack is longer than usual. */
export function withLongStack(make: () => DatabaseError): DatabaseError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = Math.max(stackFrames, stackTraceLimit);
  try {
    return make();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function ofStatement(thrown: unknown, circumstances: Circumstances): DatabaseError {
  const { abortedBy, operation, undone, connectionLost } = circumstances;
  if (thrown instanceof PostgresError && thrown.code !== undefined) {
    if (isPoolerError(thrown)) return fromPooler(thrown, circumstances);
    // It ended the session instead of answering: it may have done the work before.
    if (endsSession.test(thrown.code) && !undone && !readsOnly.has(operation)) return unknownOutcome(operation, thrown);
    return abortedBy && thrown.code === "57014" ? cancelledBy(abortedBy.reason) : fromServer(thrown, circumstances);
  }
  if (!connectionLost) return build({ ...anyOther, says: "the statement could not be sent" }, thrown);
  if (!undone && !readsOnly.has(operation)) return unknownOutcome(operation, thrown);
  if (abortedBy) return cancelledBy(abortedBy.reason);
  return thrown instanceof DatabaseError ? thrown : build(lost, thrown);
}

/** SQLSTATEs with which a server ends a session that was running. */
const endsSession = /^(?:57P|08(?!P01)|25P0[34])/;

function unknownOutcome(operation: string, thrown: unknown): DatabaseError {
  const says = `the connection broke while ${operation} ran, so it may or may not have been done; look before doing it again`;
  return build({ code: "ERR_DATABASE_OUTCOME_UNKNOWN", status: "unknown", says }, thrown);
}

/** A pooler ends the client's connection with what it says; whether a statement had reached the server only its words tell. */
function fromPooler(error: PostgresError, { operation, undone, abortedBy }: Circumstances): DatabaseError {
  if (poolerFaultOf(error.message) === "never-sent") {
    return abortedBy ? cancelledBy(abortedBy.reason) : build(noServerConnection, error);
  }
  if (!undone && !readsOnly.has(operation)) return unknownOutcome(operation, error);
  return abortedBy ? cancelledBy(abortedBy.reason) : build(lost, error);
}

/** A connection that could not be opened. Its statement was never sent. */
export function toConnectError(thrown: unknown): DatabaseError {
  if (thrown instanceof DatabaseError) return thrown;
  if (thrown instanceof PostgresError && thrown.code !== undefined) {
    if (isPoolerError(thrown)) return poolerRefusal(thrown);
    const kind = kinds[thrown.code] ?? kinds[thrown.code.slice(0, 2)];
    return build(kind === access ? access : unavailable(kind?.says ?? "the database refused the connection"), thrown);
  }
  return build(unavailable("the database cannot be reached"), thrown);
}

function poolerRefusal(error: PostgresError): DatabaseError {
  const fault = poolerFaultOf(error.message);
  if (fault === "parameter") {
    return build(
      {
        code: "ERR_DATABASE_UNSUPPORTED",
        status: "failed_precondition",
        says: 'a pooler stands in between, which takes no settings at the log-in; set pooler to "session" or "transaction", as it is set up, and give no options in the url',
      },
      error,
    );
  }
  return build(fault === "access" ? access : noServerConnection, error);
}

/** The caller no longer waits: its deadline has passed, or it has gone. */
export function cancelledBy(reason: unknown): DatabaseError {
  const late = AppError.from(reason).status === "deadline_exceeded";
  return new DatabaseError(
    "ERR_DATABASE_CANCELLED",
    late ? "deadline_exceeded" : "cancelled",
    late ? "the statement was cancelled: the time allowed has passed" : "the statement was cancelled by its caller",
    { cause: reason },
  );
}

function fromServer(error: PostgresError, { elapsedMs, statementTimeoutMs }: Circumstances): DatabaseError {
  const state = error.code ?? "XX000";
  if (state !== "57014") return build(kinds[state] ?? kinds[state.slice(0, 2)] ?? anyOther, error);
  // One SQLSTATE for the server's own limit and for an administrator; the text may be in any language, so the time counts too.
  const timedOut = /timeout/.test(error.message) || (statementTimeoutMs > 0 && elapsedMs >= statementTimeoutMs);
  const kind: Kind = timedOut
    ? {
        code: "ERR_DATABASE_TIMEOUT",
        status: "deadline_exceeded",
        says: timeoutText(elapsedMs, statementTimeoutMs),
      }
    : { code: "ERR_DATABASE_CANCELLED", status: "cancelled", says: "the statement was cancelled at the database" };
  return build(kind, error);
}

/** The server may know of a shorter limit than ours: its own, the role's, or one that was set. */
function timeoutText(elapsedMs: number, statementTimeoutMs: number): string {
  return statementTimeoutMs > 0 && elapsedMs >= statementTimeoutMs
    ? `the statement ran into its limit of ${statementTimeoutMs} ms; make it faster or raise statementTimeoutMs`
    : `the statement ran into a limit of the server's after ${Math.round(elapsedMs)} ms; make it faster, or raise the limit that was set for its transaction, session or role`;
}

function build({ code, status, says }: Kind, thrown: unknown): DatabaseError {
  const facts = thrown instanceof PostgresError ? factsOf(thrown) : {};
  const message = facts.sqlState === undefined ? says : `${says} (SQLSTATE ${facts.sqlState})`;
  const cause = thrown instanceof PostgresError ? new ServerError(thrown) : thrown;
  return new DatabaseError(code, status, message, { ...facts, cause });
}

function factsOf(error: PostgresError): ServerFacts {
  const { code, table, column, constraint, message, detail } = error;
  const text = detail === undefined ? message : `${message}\n${detail}`;
  const columns = code !== undefined && quotesKey.has(code) ? keyColumns(detail) : undefined;
  return { sqlState: code, table, column, columns, constraint, serverText: new Secret(text) };
}

/** Unique, exclusion, foreign key. */
const quotesKey: ReadonlySet<string> = new Set(["23505", "23P01", "23503"]);

/** The server's error without what may hold values: pg's own carries `detail` and `where`, which quote rows and parameters. */
class ServerError extends Error {
  override readonly name = "PostgresError";
  readonly code: string;

  constructor(error: PostgresError) {
    const state = error.code ?? "XX000";
    const names = [
      error.constraint === undefined ? "" : `constraint "${error.constraint}"`,
      error.table === undefined ? "" : `table "${error.table}"`,
      error.column === undefined ? "" : `column "${error.column}"`,
      error.routine === undefined ? "" : `routine ${error.routine}`,
    ].filter((part) => part !== "");
    super(classesWithoutValues.has(state.slice(0, 2)) ? messageOf(error) : `SQLSTATE ${state}: ${names.join(", ")}`);
    this.code = state;
  }
}
