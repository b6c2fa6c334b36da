import { AppError } from "../errors/app-error.ts";

export type ConfigErrorCode = "ERR_CONFIG_FILE" | "ERR_CONFIG_INVALID";

/** The config cannot be used. The message holds every fault, one a line. */
export class ConfigError extends AppError<ConfigErrorCode> {
  override readonly name = "ConfigError";
  readonly faults: readonly ConfigFault[];

  constructor(code: ConfigErrorCode, faults: readonly ConfigFault[], cause?: unknown) {
    const lines = faults.map((fault) => `  ${fault.key}: ${fault.problem} (${fault.source})`);
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
  /** Dotted path: `http.port`. */
  readonly key: string;
  /** What was expected and what was given; secrets are masked. */
  readonly problem: string;
  /** Where the value came from: `config.yaml:12`, `PLINTH_HTTP_PORT`, `default`, `code`. */
  readonly source: string;
}
