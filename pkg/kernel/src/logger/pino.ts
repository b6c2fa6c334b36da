import { type DestinationStream, pino } from "pino";
import { currentContext } from "../context.ts";
import type { LogFields, Logger, LogLevel } from "./logger.ts";
import { serializeError } from "./serialize-error.ts";

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

const hidden = ["authorization", "cookie", "password", "token", "secret"];

/** A logger on pino. Standard output is written in the background; `flush` before leaving. */
export async function createLogger(options: LoggerOptions = {}): Promise<Logger> {
  const { fields = {}, level = "info", format = "json" } = options;
  const destination = options.destination ?? (format === "pretty" ? await prettyDestination() : standardOutput());
  const root = pino(
    {
      level,
      base: fields,
      messageKey: "message",
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: (error: unknown) => serializeError(error) },
      redact: { paths: hidden.flatMap((name) => [name, `*.${name}`]), censor: "***" },
      mixin: requestFields,
    },
    destination as DestinationStream,
  );
  return new PinoLogger(root, destination);
}

let shared: LogDestination | undefined;

/** One buffer for standard output, whatever number of apps write to it: their lines never mix. */
function standardOutput(): LogDestination {
  shared ??= pino.destination({ dest: 1, sync: false });
  return shared;
}

async function prettyDestination(): Promise<LogDestination> {
  const { default: pretty } = await import("pino-pretty");
  return pretty({
    sync: true,
    ignore: "pid,hostname",
    messageKey: "message",
    translateTime: "HH:MM:ss.l",
    errorLikeObjectKeys: ["error"],
  });
}

function requestFields(): object {
  const context = currentContext();
  if (context === undefined) return {};
  return { trace_id: context.span?.traceId, span_id: context.span?.spanId, request_id: context.requestId };
}

class PinoLogger implements Logger {
  readonly #pino: pino.Logger;
  readonly #destination: LogDestination;

  constructor(root: pino.Logger, destination: LogDestination) {
    this.#pino = root;
    this.#destination = destination;
  }

  trace(message: string, fields?: LogFields): void {
    this.#pino.trace(fields, message);
  }
  debug(message: string, fields?: LogFields): void {
    this.#pino.debug(fields, message);
  }
  info(message: string, fields?: LogFields): void {
    this.#pino.info(fields, message);
  }
  warn(message: string, fields?: LogFields): void {
    this.#pino.warn(fields, message);
  }
  error(message: string, fields?: LogFields): void {
    this.#pino.error(fields, message);
  }
  fatal(message: string, fields?: LogFields): void {
    this.#pino.fatal(fields, message);
  }

  isEnabled(level: LogLevel): boolean {
    return this.#pino.isLevelEnabled(level);
  }

  child(fields: LogFields): Logger {
    return new PinoLogger(this.#pino.child(fields), this.#destination);
  }

  flush(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (this.#destination.flush) this.#destination.flush((error) => (error ? reject(error) : resolve()));
    else resolve();
    return promise;
  }

  flushSync(): void {
    this.#destination.flushSync?.();
  }
}
