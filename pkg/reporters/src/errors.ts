import { AppError } from "@plinth/kernel";

/** Every code this package throws. */
export type ReporterErrorCode =
  | "ERR_REPORTER_CLOSED"
  | "ERR_REPORTER_DROPPED"
  | "ERR_REPORTER_PAUSED"
  | "ERR_REPORTER_PEER"
  | "ERR_REPORTER_REFUSED"
  | "ERR_REPORTER_TIMEOUT"
  | "ERR_REPORTER_TOKEN"
  | "ERR_REPORTER_UNAVAILABLE"
  | "ERR_REPORTER_URL";

/** A report did not get where it should, or the reporter cannot be made. No message holds a URL's path, query or password. */
export class ReporterError extends AppError<ReporterErrorCode> {
  override readonly name = "ReporterError";
}

export function closedError(name: string): ReporterError {
  return new ReporterError(
    "ERR_REPORTER_CLOSED",
    "cancelled",
    `the reporter "${name}" is closed; report only while the app that opened it runs`,
  );
}

/** @param until - For messages: until when nothing is sent, as an ISO time. */
export function pausedError(origin: string, until: string): ReporterError {
  return new ReporterError(
    "ERR_REPORTER_PAUSED",
    "unavailable",
    `${origin} asked for no more requests before ${until}; nothing is sent until then`,
  );
}
