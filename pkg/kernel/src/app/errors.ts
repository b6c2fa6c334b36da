import { AppError } from "../errors/app-error.ts";

/** Every code the container and lifecycle throw. */
export type LifecycleErrorCode =
  | "ERR_APP_STATE"
  | "ERR_APP_TASK"
  | "ERR_APP_TOKEN"
  | "ERR_GRAPH_INVALID"
  | "ERR_LIFECYCLE_CANCELLED"
  | "ERR_LIFECYCLE_HOOK"
  | "ERR_LIFECYCLE_START"
  | "ERR_LIFECYCLE_STOP"
  | "ERR_LIFECYCLE_TIMEOUT"
  | "ERR_SCOPE_CLOSED"
  | "ERR_SCOPE_INPUT"
  | "ERR_SCOPE_NONE"
  | "ERR_SCOPE_STOP";

/** The app could not be built, started or stopped. The message names the provider and the step. */
export class LifecycleError extends AppError<LifecycleErrorCode> {
  override readonly name = "LifecycleError";
}
