import { AppError, type ConfigFault } from "@plinth/kernel";

/** Codes that this package throws. What clients get is listed in `reasons.ts`. */
export type GatewayErrorCode =
  | "ERR_GATEWAY_CONFIG"
  | "ERR_GATEWAY_PLUGIN"
  | "ERR_GATEWAY_STATE"
  | "ERR_GATEWAY_THREAD"
  | "ERR_GATEWAY_WORKERS";

export class GatewayError extends AppError<GatewayErrorCode> {
  override readonly name: string = "GatewayError";
}

/** The gateway's document cannot be used. The message holds every fault, one a line. */
export class GatewayConfigError extends GatewayError {
  override readonly name = "GatewayConfigError";
  readonly faults: readonly ConfigFault[];

  constructor(faults: readonly ConfigFault[], cause?: unknown) {
    const lines = faults.map(({ key, problem, source }) => `  ${key}: ${problem} (${source})`);
    const count = `${faults.length} fault${faults.length === 1 ? "" : "s"}`;
    super("ERR_GATEWAY_CONFIG", "failed_precondition", `${count} in the gateway's document:\n${lines.join("\n")}`, {
      cause,
    });
    this.faults = faults;
  }
}
