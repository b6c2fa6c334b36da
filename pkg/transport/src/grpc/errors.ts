import { create, toBinary } from "@bufbuild/protobuf";
import { Metadata, status, type StatusObject } from "@grpc/grpc-js";
import { type AppError, isServerFault } from "@plinth/kernel";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { toProblem } from "../problem.ts";
import { errorDetails } from "../rpc/details.ts";
import { toGrpcCode } from "../status.ts";

/** Trailers beyond about 8 KiB are refused by many peers, and with them the status itself. */
const maxDetailsBytes = 4_096;
const maxMessageLength = 1_024;

/** Ids by which operators find the call. */
export interface CallIds {
  readonly traceId: string;
  readonly requestId: string;
}

/** The status that a call ends with, with code, metadata and retryability in `grpc-status-details-bin`. */
export function toGrpcStatus(error: AppError, { traceId, requestId }: CallIds): StatusObject {
  const code = toGrpcCode(error.status);
  const text = toProblem(error).detail ?? "";
  // grpc-js percent-encodes the message, which throws for half a surrogate pair
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
