import { type DestinationStream, pino } from "pino";
import { currentContext } from "../context.ts";
import { messageOf } from "../errors/app-error.ts";
import { type FieldPlan, FieldRules, type RedactionOptions } from "./field-rules.ts";
import { LevelTable, requireLoggerName, severities } from "./level-table.ts";
import { BoundFields, lineFields, masked } from "./line-fields.ts";
import { LevelMethods } from "./level-methods.ts";
import type { LineWriter, LogFields, Logger, LogLevel, LogLevels, RootLogger } from "./logger.ts";
import { prettified, visible, wantsColors } from "./pretty.ts";
import { standardOutput } from "./standard-output.ts";
import { toText } from "./text.ts";
import { isFields, toTyped } from "./untyped.ts";

/** Where lines go. */
export interface LogDestination {
  write(line: string): void;
  flush?(done: (error?: Error | null) => void): void;
  flushSync?(): void;
  /** Lines that it could not write since its beginning. */
  readonly linesLost?: number | undefined;
}

export interface LoggerOptions extends LogLevels, RedactionOptions {
  /** Fields of every line, for instance `service`. */
  readonly fields?: LogFields;
  /** `json`: one object a line. `pretty`: for people. `auto`: `pretty` when standard output is a terminal and no other destination is given. Default `json`. */
  readonly format?: "auto" | "json" | "pretty";
  /** Default: standard output. */
  readonly destination?: LogDestination | undefined;
}

/**
 * A logger on pino. Standard output is written in the background; `flush` before leaving.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` when a level, a logger's name or a pattern of `redact` is none.
 */
export async function createLogger(options: LoggerOptions = {}): Promise<RootLogger> {
  return openLogger(options);
}

/** The same at once, for a process that is about to exit. */
export function openLogger({ fields = {}, format = "json", destination, ...options }: LoggerOptions): PinoLogger {
  const rules = new FieldRules(options);
  const levels = new LevelTable(options);
  const plain = destination ?? standardOutput();
  const isPretty = format === "pretty" || (format === "auto" && !destination && process.stdout.isTTY);
  const stream = isPretty
    ? prettified(plain, { colors: wantsColors(destination ? {} : process.stdout, process.env) })
    : plain;
  return new PinoLogger({ pino: pinoOn(stream), stream, levels, rules }, new BoundFields().with(fields, rules));
}

/** A line on its way through pino. */
interface Line {
  /** As JSON text. */
  readonly fields: string;
  /** Of a line that is written late; default now. */
  readonly atMs?: number;
}

/** A line that was kept until there was a logger. */
export interface KeptLine {
  readonly level: LogLevel;
  readonly atMs: number;
  readonly message: string;
  /** As they stand in a line: plain, cut, with what names the request. */
  readonly fields: LogFields;
}

const starts: ReadonlyMap<number, string> = new Map(
  Object.entries(severities).map(([level, severity]) => [severity, `{"level":"${level}"`]),
);

/** pino with levels and fields that are ours: both are worked out before a line comes to it, which halves the cost of the line. */
function pinoOn(stream: LogDestination): pino.Logger {
  const own = pino({ level: "trace", base: null, timestamp: isoTime }, stream as DestinationStream);
  const asJson = ({ fields, atMs }: Line, message: string, severity: number, time: string): string =>
    `${starts.get(severity)}${atMs === undefined ? time : timeField(atMs)}${fields},"message":${JSON.stringify(message)}}\n`;
  return Object.assign(own, { [pino.symbols.asJsonSym]: asJson });
}

let stampedMs = 0;
let stamp = "";
let second = 0;
let secondStamp = "";

/** The time as pino wants it, written anew once a millisecond: under load many lines share one, and all of a second the most of it. */
function isoTime(): string {
  const nowMs = Date.now();
  if (nowMs !== stampedMs) {
    const ms = nowMs % 1e3;
    if (nowMs - ms !== second) {
      second = nowMs - ms;
      secondStamp = timeField(second).slice(0, -endOfTime.length);
    }
    stampedMs = nowMs;
    stamp = `${secondStamp}${ms < 10 ? "00" : ms < 100 ? "0" : ""}${ms}Z"`;
  }
  return stamp;
}

const endOfTime = '000Z"';

function timeField(atMs: number): string {
  return `,"time":"${new Date(atMs).toISOString()}"`;
}

/** What all loggers of one root share. */
interface Shared {
  readonly pino: pino.Logger;
  readonly stream: LogDestination;
  readonly levels: LevelTable;
  readonly rules: FieldRules;
}

const noFields: LogFields = Object.freeze({});

export class PinoLogger extends LevelMethods implements RootLogger {
  readonly #shared: Shared;
  readonly #bound: BoundFields;
  readonly #name: string;
  #levelsVersion = 0;
  #threshold = 0;

  constructor(shared: Shared, bound: BoundFields, name = "") {
    super();
    this.#shared = shared;
    this.#bound = bound;
    this.#name = name;
  }

  isEnabled(level: LogLevel): boolean {
    const { levels } = this.#shared;
    if (this.#levelsVersion !== levels.version) {
      this.#levelsVersion = levels.version;
      this.#threshold = levels.thresholdOf(this.#name);
    }
    return severities[level] >= this.#threshold;
  }

  setLevels(levels: LogLevels): void {
    this.#shared.levels.set(levels);
  }

  child(fields: LogFields): Logger {
    return new PinoLogger(this.#shared, this.#bound.with(fields, this.#shared.rules), this.#name);
  }

  named(name: string): Logger {
    requireLoggerName("name", name);
    const full = this.#name === "" ? name : `${this.#name}.${name}`;
    return new PinoLogger(this.#shared, this.#bound.withName(full), full);
  }

  shape(level: LogLevel, message: string, names: readonly string[]): LineWriter {
    const { rules, stream } = this.#shared;
    const parts = names.map((name) => fixedPart(rules.plan(name)));
    if (parts.includes(undefined)) {
      return (values) => this.write(level, message, Object.fromEntries(names.map((name, at) => [name, values[at]])));
    }
    const written = new Set(names.map((name) => rules.plan(name).name));
    const start = `{"level":"${level}"`;
    const bound = this.#bound.without([...written]);
    const end = `,"message":${JSON.stringify(toText(message))}}\n`;
    let head = "";
    let time = "";
    return (values) => {
      if (!this.isEnabled(level)) return;
      const now = isoTime();
      if (now !== time) {
        time = now;
        head = start + time + bound;
      }
      let line = head;
      for (let at = 0; at < parts.length; at++) line += fieldText(parts[at], values[at]);
      try {
        stream.write(line + end);
      } catch (error) {
        complain(error, message);
      }
    };
  }

  flush(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const { stream } = this.#shared;
    if (stream.flush) stream.flush((error) => (error ? reject(error) : resolve()));
    else resolve();
    return promise;
  }

  flushSync(): void {
    this.#shared.stream.flushSync?.();
  }

  /** Writes a line that was kept, with its own time, unless its level is off. */
  writeKept({ level, atMs, message, fields }: KeptLine): void {
    if (!this.isEnabled(level)) return;
    this.#hand(level, { fields: this.#bound.withPlain(fields, this.#shared.rules).json, atMs }, message);
  }

  protected override write(level: LogLevel, message: string, fields: LogFields = noFields): void {
    if (!this.isEnabled(level)) return;
    if (typeof message !== "string" || !isFields(fields)) {
      const typed = toTyped(message, fields);
      return this.write(level, typed.message, typed.fields);
    }
    const line = { fields: lineFields(this.#bound, fields, this.#shared.rules, currentContext()) };
    this.#hand(level, line, toText(message));
  }

  #hand(level: LogLevel, line: Line, message: string): void {
    try {
      this.#shared.pino[level](line, message);
    } catch (error) {
      // Only a destination can throw here. A line is not worth the work that it tells of.
      complain(error, message);
    }
  }
}

function complain(error: unknown, message: string): void {
  process.stderr.write(`a log line was not written: ${visible(`${messageOf(error)}: ${message}`)}\n`);
}

/** How a field of a shape begins, and whether its value is hidden; undefined where that hangs on the value. */
function fixedPart({ start, isHidden, isError, idBit, paths }: FieldPlan): FixedPart | undefined {
  if (!isHidden && (isError || paths !== undefined)) return undefined;
  return { start, quotedStart: `${start}"`, isHidden, isId: idBit > 0, last: "", lastText: `${start}""` };
}

interface FixedPart {
  readonly start: string;
  readonly quotedStart: string;
  readonly isHidden: boolean;
  /** No two lines have the same. */
  readonly isId: boolean;
  /** The text that was written last, which most lines have too: a method, a route. */
  last: string;
  lastText: string;
}

function fieldText(part: FixedPart | undefined, value: string | number | undefined): string {
  if (part?.isHidden === true) return part.start + masked;
  if (value === undefined || part === undefined) return "";
  if (typeof value !== "string") return part.start + (Number.isFinite(value) ? String(value) : "null");
  if (part.isId && value.length <= longestId && !notPlain.test(value)) return `${part.quotedStart}${value}"`;
  if (value === part.last) return part.lastText;
  part.last = value;
  return (part.lastText = part.start + JSON.stringify(toText(value)));
}

const longestId = 64;

/** What is short and holds letters, digits, `-` and `_` alone stands in JSON as it is, and is no URL. */
const notPlain = /[^\w-]/;
