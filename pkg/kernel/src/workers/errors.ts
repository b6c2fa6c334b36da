import { AppError } from "../errors/app-error.ts";

/** Every code of what supervises workers. */
export type WorkersErrorCode = "ERR_WORKERS_CRASH_LOOP" | "ERR_WORKERS_STATE" | "ERR_WORKERS_STOP";

/** Worker processes could not be started, kept running or stopped. */
export class WorkersError extends AppError<WorkersErrorCode> {
  override readonly name = "WorkersError";
}
