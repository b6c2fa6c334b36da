import { type AppError, isServerFault } from "@plinth/kernel";
import type { TransportErrorCode } from "../errors.ts";
import type { RenderedError } from "../http/server.ts";
import type { Problem } from "../problem.ts";
import { toConnectCode } from "../status.ts";
import { errorDetails } from "./details.ts";

/** What HTTP tells apart and the canonical statuses do not. */
const httpStatuses: ReadonlyMap<string, number> = new Map<TransportErrorCode, number>([
  ["ERR_METHOD_NOT_ALLOWED", 405],
  ["ERR_REQUEST_MEDIA_TYPE", 415],
  ["ERR_REQUEST_TOO_LARGE", 413],
]);

/**
 * An error in the form of the protocol, with code, metadata and retryability among its details.
 * @see https://connectrpc.com/docs/protocol#error-end-stream
 */
export function renderConnectError(error: AppError, problem: Problem): RenderedError {
  const body = {
    code: toConnectCode(error.status),
    message: problem.detail,
    details: errorDetails(error, isServerFault(error.status)).map(({ typeName, value }) => ({
      type: typeName,
      value: Buffer.from(value).toString("base64").replace(/=+$/, ""),
    })),
  };
  const status = httpStatuses.get(error.code) ?? problem.status;
  return { status, contentType: "application/json", body: JSON.stringify(body) };
}
