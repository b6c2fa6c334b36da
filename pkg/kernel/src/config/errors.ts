import { AppError } from "../errors/app-error.ts";
import { printable } from "./printable.ts";

export type ConfigErrorCode =
  | "ERR_CONFIG_CLOSED"
  | "ERR_CONFIG_FILE"
  | "ERR_CONFIG_FIXED"
  | "ERR_CONFIG_INVALID"
  | "ERR_CONFIG_SOURCE";

/** Lines of the message; {@link ConfigError.faults} has all. */
const maxLines = 100;

/** The config cannot be used. The message holds every fault, one a line, whatever characters stand in it. */
export class ConfigError extends AppError<ConfigErrorCode> {
  override readonly name = "ConfigError";
  readonly faults: readonly ConfigFault[];

  constructor(code: ConfigErrorCode, given: readonly ConfigFault[], cause?: unknown) {
    const faults = given.map(({ key, problem, source }) => ({
      key: printable(key, 200),
      problem: printable(problem, 1_000),
      source: printable(source, 1_000),
    }));
    const lines = faults.slice(0, maxLines).map(({ key, problem, source }) => `  ${key}: ${problem} (${source})`);
    if (faults.length > maxLines) lines.push(`  and ${faults.length - maxLines} more`);
    super(
      code,
      "failed_precondition",
      `${faults.length} fault${faults.length === 1 ? "" : "s"} in the config:\n${lines.join("\n")}`,
      { cause },
    );
    this.faults = faults;
  }
}

export interface ConfigFault {
  /** Dotted path, `http.port`; of what cannot be read as a whole the absolute path of the file, or the name of the source. */
  readonly key: string;
  /** What was expected and what was given; secrets are masked. */
  readonly problem: string;
  /** Where the value came from: `config.yaml:12`, `PLINTH_HTTP_PORT`, `--http.port`, `consul:config/notes:3`, `default`, `code`, `override`. */
  readonly source: string;
}
