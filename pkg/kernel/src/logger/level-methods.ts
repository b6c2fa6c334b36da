import type { LogFields, Logger, LogLevel } from "./logger.ts";

/** The methods of a logger that are named after levels. */
export abstract class LevelMethods implements Pick<Logger, LogLevel> {
  protected abstract write(level: LogLevel, message: string, fields?: LogFields): void;

  trace(message: string, fields?: LogFields): void {
    this.write("trace", message, fields);
  }
  debug(message: string, fields?: LogFields): void {
    this.write("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.write("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.write("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.write("error", message, fields);
  }
  fatal(message: string, fields?: LogFields): void {
    this.write("fatal", message, fields);
  }
}
