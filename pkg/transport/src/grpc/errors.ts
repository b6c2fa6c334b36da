import { create, toBinary } from "@bufbuild/protobuf";
import { Metadata, status, type StatusObject } from "@grpc/grpc-js";
import { AppError, isServerFault } from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import { toUnexpected } from "../exchange.ts";
import type { FailureIds } from "../failure-ids.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { toProblem } from "../problem.ts";
import { errorDetails } from "../rpc/details.ts";
import { toGrpcCode } from "../status.ts";

/** Trailers beyond about 8 KiB are refused by many peers, and with them the status itself. */
const maxDetailsBytes = 4_096;
const maxMessageLength = 1_024;

/** The status that a call ends with, with code, metadata and retryability in `grpc-status-details-bin`. */
export function toGrpcStatus(error: AppError, { traceId, requestId }: FailureIds): StatusObject {
  const code = toGrpcCode(error.status);
  const text = toProblem(error).detail ?? "";
  // the message is percent-encoded, which throws for half a surrogate pair
  const message = (text.length <= maxMessageLength ? text : `${text.slice(0, maxMessageLength - 1)}…`).toWellFormed();
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", toDetails(error, code, message));
  metadata.set("plinth-trace-id", traceId);
  metadata.set("x-request-id", requestId);
  return { code: isStatusCode(code) ? code : status.UNKNOWN, details: message, metadata };
}

function isStatusCode(code: number): code is status {
  return code in status;
}

/** As much of the details as fits: the faults of the fields go first, then the metadata. */
function toDetails(error: AppError, code: number, message: string): Buffer {
  const all = errorDetails(error, isServerFault(error.status));
  for (const details of [all, all.slice(0, 1)]) {
    const bytes = toStatusBytes(code, message, details);
    if (bytes.length <= maxDetailsBytes) return bytes;
  }
  return toStatusBytes(code, message, errorDetails(error, isServerFault(error.status), { withMetadata: false }));
}

function toStatusBytes(code: number, message: string, details: ReturnType<typeof errorDetails>): Buffer {
  const status = create(StatusSchema, {
    code,
    message,
    details: details.map(({ typeName, value }) => ({ typeUrl: `type.googleapis.com/${typeName}`, value })),
  });
  return Buffer.from(toBinary(StatusSchema, status));
}

/** What a handler has thrown, whatever it is. */
export function toCallError(thrown: unknown): AppError {
  if (AppError.is(thrown)) return thrown;
  try {
    return toUnexpected(thrown);
  } catch (error) {
    // a proxy or getter that throws when looked at
    return new AppError("ERR_INTERNAL", "internal", "a thrown value that cannot be read", { cause: error });
  }
}

/** A caller that stands still: its own fault, though its call ends as one that took too long. */
export function idleError(what: "reader" | "request", idleMs: number): TransportError {
  const text = what === "reader" ? "no reply was read" : "no message came";
  return new TransportError("ERR_STREAM_IDLE", "deadline_exceeded", `${text} for ${idleMs} ms or longer`);
}

/** True for why a call was stopped that is not the server's fault, or is no fault. */
export function isMeantForCallers({ code }: AppError): boolean {
  return code === "ERR_STREAM_IDLE" || code === "ERR_SERVER_STOPPING";
}

/** A caller whose time is none. */
export function timeoutError(): TransportError {
  const text = "grpc-timeout takes up to eight digits, and one of H, M, S, m, u and n";
  return new TransportError("ERR_REQUEST_BODY", "invalid_argument", text);
}
