import { type DestinationStream, pino } from "pino";
import { currentContext } from "../context.ts";
import { messageOf } from "../errors/app-error.ts";
import type { LogFields, Logger, LogLevel } from "./logger.ts";
import { safeFields } from "./safe-fields.ts";
import { cut } from "./serialize-error.ts";
import { standardOutput } from "./standard-output.ts";

/** Where lines go. */
export interface LogDestination {
  write(line: string): void;
  flush?(done: (error?: Error | null) => void): void;
  flushSync?(): void;
}

export interface LoggerOptions {
  /** Fields of every line, for instance `service`. */
  readonly fields?: LogFields;
  /** Lines below it are not written. Default `info`. */
  readonly level?: LogLevel;
  /** `json`: one object a line. `pretty`: for people. Default `json`. */
  readonly format?: "json" | "pretty";
  /** Default: standard output. */
  readonly destination?: LogDestination;
}

/** A logger on pino. Standard output is written in the background; `flush` before leaving. */
export async function createLogger(options: LoggerOptions = {}): Promise<Logger> {
  const { fields = {}, level = "info", format = "json", destination: plain = standardOutput() } = options;
  const destination = format === "pretty" ? await prettified(plain) : plain;
  const root = pino(
    {
      level,
      base: safeFields(fields),
      messageKey: "message",
      timestamp: isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination as DestinationStream,
  );
  return new PinoLogger(root, destination);
}

let stampedMs = 0;
let stamp = "";

/** The time as pino wants it, written anew once a millisecond: under load many lines share one. */
function isoTime(): string {
  const nowMs = Date.now();
  if (nowMs !== stampedMs) {
    stampedMs = nowMs;
    stamp = `,"time":"${new Date(nowMs).toISOString()}"`;
  }
  return stamp;
}

/** Loaded only where it is wanted: in a terminal. */
async function prettified(destination: LogDestination): Promise<LogDestination> {
  const { prettyFactory } = await import("pino-pretty");
  const toText = prettyFactory({
    ignore: "pid,hostname,service",
    messageFormat: "{if service}{service}: {end}{message}",
    singleLine: true,
    messageKey: "message",
    translateTime: "HH:MM:ss.l",
    errorLikeObjectKeys: ["error"],
  });
  return {
    write: (line) => destination.write(toText(line)),
    flush: (done) => (destination.flush ? destination.flush(done) : done()),
    flushSync: () => destination.flushSync?.(),
  };
}

/** Adds what names the request being served, if any; a field of the caller's of the same name is kept. */
function withRequest(fields: Record<string, unknown>): Record<string, unknown> {
  const context = currentContext();
  if (context === undefined) return fields;
  fields.trace_id ??= context.span?.traceId;
  fields.span_id ??= context.span?.spanId;
  fields.request_id ??= context.requestId;
  return fields;
}

class PinoLogger implements Logger {
  readonly #pino: pino.Logger;
  readonly #destination: LogDestination;

  constructor(root: pino.Logger, destination: LogDestination) {
    this.#pino = root;
    this.#destination = destination;
  }

  trace(message: string, fields?: LogFields): void {
    this.#write("trace", message, fields);
  }
  debug(message: string, fields?: LogFields): void {
    this.#write("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#write("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#write("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.#write("error", message, fields);
  }
  fatal(message: string, fields?: LogFields): void {
    this.#write("fatal", message, fields);
  }

  isEnabled(level: LogLevel): boolean {
    return this.#pino.isLevelEnabled(level);
  }

  child(fields: LogFields): Logger {
    return new PinoLogger(this.#pino.child(safeFields(fields)), this.#destination);
  }

  flush(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (this.#destination.flush) this.#destination.flush((error) => (error ? reject(error) : resolve()));
    else resolve();
    return promise;
  }

  #write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (!this.#pino.isLevelEnabled(level)) return;
    try {
      this.#pino[level](withRequest(safeFields(fields)), cut(message));
    } catch (error) {
      // Only a destination can throw here. A line is not worth the work that it tells of.
      process.stderr.write(`a log line was not written: ${messageOf(error)}: ${message}\n`);
    }
  }

  flushSync(): void {
    this.#destination.flushSync?.();
  }
}
