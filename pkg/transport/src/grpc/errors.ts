import { create, toBinary } from "@bufbuild/protobuf";
import { type AppError } from "@plinth/kernel";
import { Metadata, type StatusObject } from "@grpc/grpc-js";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import { toProblem } from "../problem.ts";
import { errorDetails } from "../rpc/details.ts";
import { isServerFault, toGrpcCode } from "../status.ts";

/** The status that a call ends with, with code, metadata and retryability in `grpc-status-details-bin`. */
export function toGrpcStatus(error: AppError, traceId: string): StatusObject {
  const hidden = isServerFault(error.status);
  const code = toGrpcCode(error.status);
  const message = toProblem(error).detail ?? "";
  const details = errorDetails(error, hidden).map(({ typeName, value }) => ({
    typeUrl: `type.googleapis.com/${typeName}`,
    value,
  }));
  const metadata = new Metadata();
  metadata.set(
    "grpc-status-details-bin",
    Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code, message, details }))),
  );
  metadata.set("plinth-trace-id", traceId);
  return { code, details: message, metadata };
}
