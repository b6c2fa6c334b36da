import type { AppError, Status } from "@plinth/kernel";
import { RequestError } from "../../errors.ts";
import { type ErrorDetail, readDetails } from "../details.ts";
import { type CallTarget, RpcError } from "./errors.ts";

/** What a service answered in place of a reply. */
export interface RemoteFailure extends CallTarget {
  readonly status: Status;
  readonly message: string;
  readonly details: readonly ErrorDetail[];
  /** Its code when the service names none. Default `ERR_RPC_FAILED`. */
  readonly code?: string | undefined;
  readonly cause?: unknown;
}

/** The error that the service threw, as far as it told: the same code, status, metadata and retryability. */
export function toRemoteError(failure: RemoteFailure): AppError {
  const { status, message, details, cause, peer, method } = failure;
  const unnamed = { code: "ERR_RPC_FAILED", status: failure.status };
  const { code = failure.code ?? unnamed.code, metadata, retryable, faults } = readDetails(details);
  if (faults.length > 0 && code === "ERR_REQUEST_INVALID" && status === "invalid_argument")
    return new RequestError(faults);
  const text = message === "" ? `${peer} failed at ${method}: ${status}` : message.slice(0, maxMessageLength);
  return new RpcError(code, status, text, {
    peer,
    method,
    metadata,
    details,
    cause,
    ...(retryable === undefined ? {} : { retryable }),
  });
}

const maxMessageLength = 2_048;
