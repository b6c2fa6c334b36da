import { OptionError } from "../errors/option-error.ts";
import { type LogLevels, logLevels, type LogThreshold } from "./logger.ts";

export const severities: Readonly<Record<LogThreshold, number>> = Object.freeze({
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
  off: Infinity,
});

export const logThresholds = Object.freeze([...logLevels, "off"] as const);

/** Parts joined by dots; the first word is usually the package's. */
export const loggerNamePattern = /^[\w-]+(?:\.[\w-]+)*$/;

/** The levels that all loggers of one root share. Each keeps its own threshold until the version moves. */
export class LevelTable {
  /** One more after each change. */
  version = 0;
  #level = severities.info;
  #byName: ReadonlyMap<string, number> = new Map();

  constructor(levels: LogLevels) {
    this.set(levels);
  }

  /** @throws {@link OptionError} `ERR_OPTION_RANGE` when a name or a level is none. */
  set({ level = "info", levels = {} }: LogLevels): void {
    const byName = new Map(
      Object.entries(levels).map(([name, threshold]) => [
        requireLoggerName("levels", name),
        severityOf(`levels["${name}"]`, threshold),
      ]),
    );
    this.#level = severityOf("level", level);
    this.#byName = byName;
    this.version++;
  }

  /** @param name - Empty for a logger without one. */
  thresholdOf(name: string): number {
    for (let prefix = name; prefix !== ""; prefix = prefix.slice(0, Math.max(0, prefix.lastIndexOf(".")))) {
      const found = this.#byName.get(prefix);
      if (found !== undefined) return found;
    }
    return this.#level;
  }
}

/** @throws {@link OptionError} `ERR_OPTION_RANGE` unless it is one. */
export function requireLoggerName(option: string, name: string): string {
  if (typeof name === "string" && loggerNamePattern.test(name)) return name;
  const what = `${option} must name loggers by letters, digits, _ and -, with dots between parts, not ${JSON.stringify(name)}`;
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", what);
}

function severityOf(option: string, threshold: LogThreshold): number {
  if (Object.hasOwn(severities, threshold)) return severities[threshold];
  const what = `${option} must be one of ${logThresholds.join(", ")}, not ${JSON.stringify(threshold)}`;
  throw new OptionError("ERR_OPTION_RANGE", "invalid_argument", what);
}
