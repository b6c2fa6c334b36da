import { create, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { AppError } from "@plinth/kernel";
import { type FieldFault, RequestError } from "../errors.ts";
import { BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";

/** One typed detail of an error, as both RPC wires carry it. */
export interface ErrorDetail {
  /** Full name of the message. */
  readonly typeName: string;
  readonly value: Uint8Array;
}

/** Key under which retryability travels in the metadata of ErrorInfo. */
const retryableKey = "plinth.retryable";

export interface DetailOptions {
  /** False leaves out the error's metadata and its field faults. Default true. */
  readonly withMetadata?: boolean;
}

/**
 * The error's code, metadata and retryability as ErrorInfo, and its field faults as BadRequest.
 * @param hidden - True for a fault of the server: only a fixed code leaves.
 */
export function errorDetails(
  error: AppError,
  hidden: boolean,
  { withMetadata = true }: DetailOptions = {},
): ErrorDetail[] {
  const own = hidden || !withMetadata ? {} : wellFormed(error.metadata);
  const metadata = { ...own, [retryableKey]: String(error.retryable) };
  const info = create(ErrorInfoSchema, { reason: hidden ? "ERR_INTERNAL" : error.code, domain: "plinth", metadata });
  const details: ErrorDetail[] = [{ typeName: ErrorInfoSchema.typeName, value: toBinary(ErrorInfoSchema, info) }];
  if (error instanceof RequestError && withMetadata) {
    const fieldViolations = error.faults.map(({ pointer, detail }) => ({
      field: pointer.toWellFormed(),
      description: detail.toWellFormed(),
    }));
    details.push({
      typeName: BadRequestSchema.typeName,
      value: toBinary(BadRequestSchema, create(BadRequestSchema, { fieldViolations })),
    });
  }
  return details;
}

/** protobuf holds text as UTF-8, which half a surrogate pair has no form in. */
function wellFormed(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key.toWellFormed(), value.toWellFormed()]));
}

/** What {@link errorDetails} made details of, as far as it is there. */
export interface ReadDetails {
  readonly code: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryable: boolean | undefined;
  readonly faults: readonly FieldFault[];
}

/** Reads what another service says of its error, of ours or not. What cannot be read counts as absent. */
export function readDetails(details: readonly ErrorDetail[]): ReadDetails {
  const info = find(details, ErrorInfoSchema);
  const { [retryableKey]: retryable, ...metadata } = info?.metadata ?? {};
  const violations = find(details, BadRequestSchema)?.fieldViolations ?? [];
  return {
    code: info !== undefined && codePattern.test(info.reason) ? info.reason : undefined,
    metadata,
    retryable: retryable === "true" ? true : retryable === "false" ? false : undefined,
    faults: violations.map(({ field, description }) => ({ pointer: field, detail: description })),
  };
}

/** As ErrorInfo allows it. */
const codePattern = /^[A-Z][A-Z0-9_]{0,62}$/;

function find<S extends DescMessage>(details: readonly ErrorDetail[], schema: S): MessageShape<S> | undefined {
  const detail = details.find(({ typeName }) => typeName === schema.typeName);
  if (detail === undefined) return undefined;
  try {
    return fromBinary(schema, detail.value);
  } catch {
    return undefined; // somebody else's bytes: the error itself is still told
  }
}
