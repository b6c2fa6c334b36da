import { currentContext } from "../context.ts";
import { requireWhole } from "../errors/option-error.ts";
import { FieldRules } from "./field-rules.ts";
import { LevelMethods } from "./level-methods.ts";
import { requireLoggerName } from "./level-table.ts";
import { BoundFields, lineFields } from "./line-fields.ts";
import type { LogFields, Logger, LogLevel } from "./logger.ts";
import { type LogDestination, type LoggerOptions, openLogger, PinoLogger } from "./pino.ts";
import { toText } from "./text.ts";
import { isFields, toTyped } from "./untyped.ts";

/** A logger for the time before there is one: it keeps lines until it is told where they go. */
export interface EarlyLogger extends Logger {
  /**
   * Writes the lines kept so far to `logger`, each with its own time and request, and hands on all that follow. The levels
   * of `logger` decide which are written. Loggers that came from this one before hand on too.
   */
  attach(logger: Logger): void;
  /** Whether there is a logger now. */
  isAttached(): boolean;
  /** For a start that failed before any logger existed: attaches a plain one. Does nothing when one is attached. */
  release(): void;
}

export interface EarlyLoggerOptions {
  /** Fields of every line that {@link EarlyLogger.release} writes, for instance `service`. Default none. */
  readonly fields?: LogFields;
  /** Most lines kept, 1 or more: beyond, the oldest are dropped, and a line says how many. Default 1_000. */
  readonly maxLines?: number;
  /** How it writes. Default `auto`: `pretty` in a terminal, else `json`. */
  readonly format?: LoggerOptions["format"];
  /** Where {@link EarlyLogger.release} writes. Default: standard output, for people when it is a terminal. */
  readonly destination?: LogDestination | undefined;
}

/**
 * Makes an {@link EarlyLogger}. `flushSync`, and the end of the process, release what nobody has been attached for.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when `maxLines` is out of range.
 */
export function createEarlyLogger(options: EarlyLoggerOptions = {}): EarlyLogger {
  requireWhole("maxLines", options.maxLines ?? defaultMaxLines, { min: 1 });
  const keeper = new Keeper(options);
  return Object.assign(new KeptLogger(keeper, (logger) => logger), {
    attach: (logger: Logger) => keeper.attach(logger),
    isAttached: () => keeper.target !== undefined,
    release: () => keeper.release(),
  });
}

const defaultMaxLines = 1_000;
/** Of all kept lines together, whatever their number. */
const maxKeptLength = 4 * 1024 * 1024;

interface Kept {
  readonly from: KeptLogger;
  readonly level: LogLevel;
  readonly atMs: number;
  readonly message: string;
  /** As JSON text: it holds no object of the caller's, and its size is known. */
  readonly fields: string;
}

/** What an early logger and all that came from it share. */
class Keeper {
  readonly #options: EarlyLoggerOptions;
  #lines: Kept[] = [];
  #length = 0;
  #dropped = 0;
  #droppedAtMs = 0;
  target: Logger | undefined;

  constructor(options: EarlyLoggerOptions) {
    this.#options = options;
  }

  keep(line: Kept): void {
    const { maxLines = defaultMaxLines } = this.#options;
    this.#lines.push(line);
    this.#length += lengthOf(line);
    while (this.#lines.length > maxLines || (this.#length > maxKeptLength && this.#lines.length > 1)) this.#drop();
    remember(this);
  }

  #drop(): void {
    const oldest = this.#lines.shift();
    if (oldest === undefined) return;
    this.#length -= lengthOf(oldest);
    this.#dropped++;
    this.#droppedAtMs = oldest.atMs;
  }

  attach(target: Logger): void {
    this.target = target;
    forget(this);
    const lines = this.#lines;
    const dropped = this.#dropped;
    this.#lines = [];
    this.#length = this.#dropped = 0;
    if (dropped > 0) {
      const message = "lines from before the logger are lost: there were too many";
      writeKept(target, { level: "warn", atMs: this.#droppedAtMs, message, fields: `,"dropped":${dropped}` });
    }
    for (const line of lines) writeKept(line.from.current(target), line);
  }

  release(): void {
    const { fields = {}, destination, format = "auto" } = this.#options;
    if (this.target === undefined) this.attach(openLogger({ fields, destination, format }));
  }
}

function lengthOf({ message, fields }: Kept): number {
  return message.length + fields.length;
}

function writeKept(logger: Logger, { level, atMs, message, fields }: Omit<Kept, "from">): void {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- lineFields has written it
  const plain = JSON.parse(`{${fields.slice(1)}}`) as LogFields;
  if (logger instanceof PinoLogger) logger.writeKept({ level, atMs, message, fields: plain });
  else if (logger.isEnabled(level)) logger[level](message, { ...plain, logged_at: new Date(atMs).toISOString() });
}

/** Those with lines that nobody has been attached for. One listener for all of them, and none when there are none. */
const unreleased = new Set<Keeper>();

function remember(keeper: Keeper): void {
  if (unreleased.size === 0) process.on("exit", releaseAll);
  unreleased.add(keeper);
}

function forget(keeper: Keeper): void {
  unreleased.delete(keeper);
  if (unreleased.size === 0) process.off("exit", releaseAll);
}

function releaseAll(): void {
  for (const keeper of unreleased) {
    keeper.release();
    keeper.target?.flushSync();
  }
}

const noFields: LogFields = Object.freeze({});
const rules = new FieldRules();
const unbound = new BoundFields();

class KeptLogger extends LevelMethods implements Logger {
  readonly #keeper: Keeper;
  /** Makes of the attached logger the one that this one stands for. */
  readonly #derive: (target: Logger) => Logger;
  #derived: { readonly of: Logger; readonly logger: Logger } | undefined;

  constructor(keeper: Keeper, derive: (target: Logger) => Logger) {
    super();
    this.#keeper = keeper;
    this.#derive = derive;
  }

  isEnabled(level: LogLevel): boolean {
    const { target } = this.#keeper;
    return target === undefined || this.current(target).isEnabled(level);
  }

  child(fields: LogFields): Logger {
    const { fields: own } = toTyped(fields); // as they are now
    return new KeptLogger(this.#keeper, (target) => this.current(target).child(own));
  }

  named(name: string): Logger {
    requireLoggerName("name", name);
    return new KeptLogger(this.#keeper, (target) => this.current(target).named(name));
  }

  async flush(): Promise<void> {
    await this.#keeper.target?.flush();
  }

  flushSync(): void {
    this.#keeper.release();
    this.#keeper.target?.flushSync();
  }

  /** What this logger is on `target`. */
  current(target: Logger): Logger {
    if (this.#derived?.of !== target) this.#derived = { of: target, logger: this.#derive(target) };
    return this.#derived.logger;
  }

  protected override write(level: LogLevel, message: string, fields: LogFields = noFields): void {
    const { target } = this.#keeper;
    if (target !== undefined) return this.current(target)[level](message, fields);
    if (typeof message !== "string" || !isFields(fields)) {
      const typed = toTyped(message, fields);
      return this.write(level, typed.message, typed.fields);
    }
    const kept = { level, atMs: Date.now(), message: toText(message) };
    this.#keeper.keep({ ...kept, from: this, fields: lineFields(unbound, fields, rules, currentContext()) });
  }
}
