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

/**
 * What is wrong with an answer; undefined when it says that all is well. `retryable` where the same request may be taken later.
 *
 * @param advice - What to look at when it was refused.
 */
export function answerError(origin: string, status: number, advice: string): ReporterError | undefined {
  if (status >= 200 && status < 300) return undefined;
  const what = `${origin} answered ${status}`;
  if (status === 408 || status === 429 || status >= 500) {
    return new ReporterError("ERR_REPORTER_UNAVAILABLE", "unavailable", `${what}; see what ails it`);
  }
  const isRedirect = status >= 300 && status < 400;
  const why = "redirects are not followed, which would take reports and credentials elsewhere; set the URL it leads to";
  return new ReporterError("ERR_REPORTER_REFUSED", "failed_precondition", `${what}; ${isRedirect ? why : advice}`);
}
