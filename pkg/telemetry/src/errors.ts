import { AppError } from "@plinth/kernel";

/** Every code this package throws. */
export type TelemetryErrorCode = "ERR_TELEMETRY_VARIABLE" | "ERR_TELEMETRY_PRELOAD";

export class TelemetryError extends AppError<TelemetryErrorCode> {
  override readonly name = "TelemetryError";
}
