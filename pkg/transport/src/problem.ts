import { type AppError, isServerFault } from "@plinth/kernel";
import { type FieldFault, RequestError } from "./errors.ts";
import { STATUS_CODES } from "./node-http.ts";
import { toHttpStatus } from "./status.ts";

/** The body of every error reply. @see https://www.rfc-editor.org/rfc/rfc9457 */
export interface Problem {
  readonly type: "about:blank";
  readonly title: string;
  readonly status: number;
  /** Stable identity of the error; `docs/errors.md` lists them. */
  readonly code: string;
  readonly detail?: string;
  readonly traceId?: string;
  readonly retryable?: boolean;
  readonly metadata?: Readonly<Record<string, string>>;
  /** Each fault in the request. */
  readonly errors?: readonly FieldFault[];
}

export const problemContentType = "application/problem+json";

export interface ProblemOptions {
  readonly traceId?: string | undefined;
  /** For what HTTP tells apart and the canonical statuses do not, as 405, 413 and 415. Default: by the status table. */
  readonly httpStatus?: number | undefined;
}

/** A problem as the parts of an HTTP reply. */
export interface ProblemText {
  readonly title: string;
  readonly headers: { readonly "content-type": string; readonly "content-length": string };
  readonly text: string;
}

export function problemText(problem: Problem): ProblemText {
  const text = JSON.stringify(problem);
  const headers = { "content-type": problemContentType, "content-length": String(Buffer.byteLength(text)) };
  return { title: problem.title, headers, text };
}

/** What a caller may know of an error. A fault of the server leaves as a fixed text, without code, metadata or message. */
export function toProblem(error: AppError, { traceId, httpStatus }: ProblemOptions = {}): Problem {
  const status = httpStatus ?? toHttpStatus(error.status);
  const base = { type: "about:blank", title: STATUS_CODES[status] ?? "Error", status } as const;
  const trace = traceId === undefined ? {} : { traceId };
  if (isServerFault(error.status)) {
    return {
      ...base,
      code: "ERR_INTERNAL",
      detail: "The server failed at this. Its operators can find out why by the trace id.",
      ...trace,
    };
  }
  return {
    ...base,
    code: error.code,
    detail: error.message,
    ...trace,
    ...(error.retryable ? { retryable: true } : {}),
    ...(Object.keys(error.metadata).length > 0 ? { metadata: error.metadata } : {}),
    ...(error instanceof RequestError ? { errors: error.faults } : {}),
  };
}
