export const logLevels = Object.freeze(["trace", "debug", "info", "warn", "error", "fatal"] as const);
export type LogLevel = (typeof logLevels)[number];

/** Facts beside the message. An `error` field may hold anything thrown. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Writes structured lines. Inside a request each line carries `trace_id`, `span_id` and `request_id`.
 * A message is a fixed text; what varies goes into fields.
 */
export interface Logger {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  fatal(message: string, fields?: LogFields): void;
  isEnabled(level: LogLevel): boolean;
  /** A logger that adds `fields` to each line. */
  child(fields: LogFields): Logger;
  /** Resolves when every line so far has been handed to the operating system. */
  flush(): Promise<void>;
  /** The same, blocking: for a crash. */
  flushSync(): void;
}
