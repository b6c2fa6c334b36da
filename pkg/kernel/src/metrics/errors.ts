import { AppError } from "../errors/app-error.ts";

export type MetricErrorCode = "ERR_METRIC_DECLARED" | "ERR_METRIC_LABEL" | "ERR_METRIC_NAME";

/** A metric that cannot be declared so. The message says which, what is wrong with it, and what is taken. */
export class MetricError extends AppError<MetricErrorCode> {
  override readonly name = "MetricError";

  constructor(code: MetricErrorCode, message: string) {
    super(code, "invalid_argument", message);
  }
}
