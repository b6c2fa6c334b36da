import { AppError, type AppErrorOptions, type Secret, type Status } from "@plinth/kernel";

/** Every code this package throws; `docs/errors.md` lists them, and a check keeps the two equal. */
export type DatabaseErrorCode =
  | "ERR_DATABASE_ACCESS"
  | "ERR_DATABASE_ACQUIRE_TIMEOUT"
  | "ERR_DATABASE_BUSY"
  | "ERR_DATABASE_CANCELLED"
  | "ERR_DATABASE_CHECK"
  | "ERR_DATABASE_CLOSED"
  | "ERR_DATABASE_CONFLICT"
  | "ERR_DATABASE_CONNECTION_LOST"
  | "ERR_DATABASE_EMBEDDED"
  | "ERR_DATABASE_FOREIGN_KEY"
  | "ERR_DATABASE_HELD"
  | "ERR_DATABASE_MIGRATION"
  | "ERR_DATABASE_MIGRATION_LOCK"
  | "ERR_DATABASE_NOT_NULL"
  | "ERR_DATABASE_OUTCOME_UNKNOWN"
  | "ERR_DATABASE_OVERLOADED"
  | "ERR_DATABASE_QUERY"
  | "ERR_DATABASE_READ_ONLY"
  | "ERR_DATABASE_ROLLED_BACK"
  | "ERR_DATABASE_SCHEMA"
  | "ERR_DATABASE_TIMEOUT"
  | "ERR_DATABASE_TLS"
  | "ERR_DATABASE_UNAVAILABLE"
  | "ERR_DATABASE_UNIQUE"
  | "ERR_DATABASE_UNSUPPORTED";

/** What the server said about a failed statement. Names only: values stand in {@link ServerFacts.serverText}. */
export interface ServerFacts {
  /** Five characters, as in https://www.postgresql.org/docs/current/errcodes-appendix.html */
  readonly sqlState?: string | undefined;
  readonly table?: string | undefined;
  readonly column?: string | undefined;
  /** Of a broken unique or exclusion constraint or foreign key: columns, or expressions, in the order of its index. */
  readonly columns?: readonly string[] | undefined;
  readonly constraint?: string | undefined;
  /** The server's own message and detail. They may hold values of a row, so no log prints them. */
  readonly serverText?: Secret | undefined;
}

/** The database did not do what was asked. No message, cause or field that is printed holds a value of a row or a parameter. */
export class DatabaseError extends AppError<DatabaseErrorCode> implements ServerFacts {
  override readonly name = "DatabaseError";
  readonly sqlState: string | undefined;
  readonly table: string | undefined;
  readonly column: string | undefined;
  readonly columns: readonly string[] | undefined;
  readonly constraint: string | undefined;
  readonly serverText: Secret | undefined;

  constructor(code: DatabaseErrorCode, status: Status, message: string, options: AppErrorOptions & ServerFacts = {}) {
    super(code, status, message, options);
    this.sqlState = options.sqlState;
    this.table = options.table;
    this.column = options.column;
    this.columns = options.columns;
    this.constraint = options.constraint;
    this.serverText = options.serverText;
  }
}
