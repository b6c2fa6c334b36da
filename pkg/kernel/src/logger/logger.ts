export const logLevels = Object.freeze(["trace", "debug", "info", "warn", "error", "fatal"] as const);
export type LogLevel = (typeof logLevels)[number];

/** From which level on lines are written; `off` writes none. */
export type LogThreshold = LogLevel | "off";

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
  /** Whether lines of this level are written now: ask before gathering costly fields. */
  isEnabled(level: LogLevel): boolean;
  /** A logger that adds `fields` to each line. A line's own field of the same name wins. */
  child(fields: LogFields): Logger;
  /**
   * A logger whose lines say `logger: name`, and whose level can be set by that name. Names nest with a dot:
   * `log.named("database").named("pool")` is `database.pool`.
   * @param name - Letters, digits, `_` and `-`, in parts joined by dots.
   * @throws {@link OptionError} `ERR_OPTION_RANGE` when the name is none.
   */
  named(name: string): Logger;
  /**
   * Lines of one level, message and set of fields, of which so many are written that what each costs shows: what can be worked out
   * once is. Absent: it has no such way, and `info` and the like do; {@link lineWriter} knows.
   * @param names - None of them twice.
   */
  shape?(level: LogLevel, message: string, names: readonly string[]): LineWriter;
  /** Resolves when every line so far has been handed to the operating system. */
  flush(): Promise<void>;
  /** The same, blocking: for a crash. */
  flushSync(): void;
}

/**
 * Writes a line of its shape, unless its level is off now, with nothing of the current request's but what it is given.
 * @param values - One for each name, in their order. An undefined one is left out.
 */
export type LineWriter = (values: readonly (string | number | undefined)[]) => void;

/** The cheapest way that `log` has to write many lines of one shape. */
export function lineWriter(log: Logger, level: LogLevel, message: string, names: readonly string[]): LineWriter {
  if (log.shape) return log.shape(level, message, names);
  return (values) => log[level](message, Object.fromEntries(names.map((name, index) => [name, values[index]])));
}

export interface LogLevels {
  /** Of each logger that `levels` does not name. Default `info`. */
  readonly level?: LogLevel | undefined;
  /**
   * By name of the logger: `{ database: "debug", "http.access": "off" }`. An entry holds for the names below it too, and
   * the longest wins. Default none.
   */
  readonly levels?: Readonly<Record<string, LogThreshold>> | undefined;
}

/** The logger that all others of an app come from. */
export interface RootLogger extends Logger {
  /**
   * Sets the levels of this logger and of all that came from it, at once; what is not given goes back to its default.
   * @throws {@link OptionError} `ERR_OPTION_RANGE` when a name or a level is none; the old levels then stay.
   */
  setLevels(levels: LogLevels): void;
}
