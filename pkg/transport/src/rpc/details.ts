import { create, toBinary } from "@bufbuild/protobuf";
import type { AppError } from "@plinth/kernel";
import { RequestError } from "../errors.ts";
import { BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";

/** One typed detail of an error, as both RPC wires carry it. */
export interface ErrorDetail {
  /** Full name of the message. */
  readonly typeName: string;
  readonly value: Uint8Array;
}

/** Key under which retryability travels in the metadata of ErrorInfo. */
export const retryableKey = "plinth.retryable";

/**
 * The error's code, metadata and retryability as ErrorInfo, and its field faults as BadRequest.
 * @param hidden - True for a fault of the server: only a fixed code leaves.
 */
export function errorDetails(error: AppError, hidden: boolean): ErrorDetail[] {
  const metadata = { ...(hidden ? {} : error.metadata), [retryableKey]: String(error.retryable) };
  const info = create(ErrorInfoSchema, { reason: hidden ? "ERR_INTERNAL" : error.code, domain: "plinth", metadata });
  const details: ErrorDetail[] = [{ typeName: ErrorInfoSchema.typeName, value: toBinary(ErrorInfoSchema, info) }];
  if (error instanceof RequestError) {
    const fieldViolations = error.faults.map(({ pointer, detail }) => ({ field: pointer, description: detail }));
    details.push({
      typeName: BadRequestSchema.typeName,
      value: toBinary(BadRequestSchema, create(BadRequestSchema, { fieldViolations })),
    });
  }
  return details;
}
