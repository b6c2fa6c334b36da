// What goes to a session and comes back. No type of pg's: declarations that users compile lead here, and theirs are not installed with it.

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
  /** As {@link StatementFacts.operation}. */
  readonly operation: string;
  /** Whether a lost connection undoes it: it stands in a transaction, and does not commit it. */
  readonly undone: boolean;
  /** Any of them cancels the statement at the server. */
  readonly signals: readonly AbortSignal[];
  /** When it was given, in milliseconds of the monotonic clock. Default: now. */
  readonly startedAtMs?: number;
  /** It stands alone and needs the schema, which a pooler keeps for a transaction only. Default false. */
  readonly inOwnTransaction?: boolean;
}

export interface StatementResult<Row> {
  readonly command: string;
  readonly rowCount: number;
  readonly rows: Row[];
  /** Of what writes; as kysely has it. */
  readonly numAffectedRows?: bigint;
}

/** The rows of one statement, in parts. */
export interface RowCursor<Row> {
  read(maxRows: number, callback: (error: Error | null | undefined, rows: Row[]) => void): void;
  close(callback: (error?: Error | null) => void): void;
}
