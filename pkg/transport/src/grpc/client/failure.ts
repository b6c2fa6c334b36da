import { fromBinary } from "@bufbuild/protobuf";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import type { AppError, Status } from "@plinth/kernel";
import { StatusSchema } from "../../gen/google/rpc/status_pb.ts";
import {
  badReply,
  badStatus,
  type CallTarget,
  nobody,
  replyTooLarge,
  requestTooLarge,
  misdirectedCode,
  unreachable,
} from "../../rpc/client/errors.ts";
import { toRemoteError } from "../../rpc/client/remote-error.ts";
import type { ErrorDetail } from "../../rpc/details.ts";
import { fromGrpcCode } from "../../status.ts";

/** What the library says a call failed with. */
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "details" in error && "metadata" in error && error.metadata instanceof Metadata;
}

/**
 * What a call failed with: the error that the service threw, or what kept it from answering. The library tells both as a status, its
 * own by their text alone; what the caller's own signal did is known before this is asked.
 */
export function toCallError(error: ServiceError, target: CallTarget, maxReplyBytes: number): AppError {
  const { metadata } = error;
  const text: string | undefined = error.details;
  const given = fromGrpcCode(error.code);
  const status = given === "ok" ? "unknown" : given;
  const details = detailsIn(metadata);
  if (details.length > 0) {
    const said = toRemoteError({ ...target, status, message: text ?? "", details });
    return said.code === misdirectedCode ? unreachable(target, said, true) : said;
  }
  // what a filter of the library throws, at a message in an encoding that nobody named, becomes a status without code and text
  if (text === undefined) return badReply(target, "no gRPC", { cause: error });
  if (begins(text, absent)) return nobody(target, text);
  if (begins(text, unsent)) return unreachable(target, error, true);
  // A stream that is cancelled by nobody here is one of a server, or of a proxy, that goes.
  if (status === "cancelled" || begins(text, lost) || systemError.test(text)) return unreachable(target, error, false);
  if (begins(text, tooLarge)) return replyTooLarge(target, maxReplyBytes, error);
  if (text.startsWith("Attempted to send message with a size larger")) return requestTooLarge(target, error);
  if (text.startsWith("Received HTTP status code")) return badStatus(target, "no gRPC", { status, cause: error });
  if (begins(text, garbage)) return badReply(target, "no gRPC", { cause: error });
  const code = codes.get(status);
  return toRemoteError({ ...target, status, message: text, details, code, cause: error });
}

/** As `discovery/errors.ts` has it, from the resolver. */
const absent = ["the registry knows no instance of ", "the registry has not told within "];
const unsent = [
  "No connection established",
  "Name resolution failed",
  "Channel closed before call started",
  "Stream refused by server",
];
const lost = [
  "Connection dropped",
  "Received RST_STREAM with code",
  "Write error",
  "Write failed",
  // ENHANCE_YOUR_CALM, by which a server ends a connection with all that is on it
  "Bandwidth exhausted or memory limit exceeded",
];
const systemError = /\bE(?:CONNRESET|CONNREFUSED|PIPE|TIMEDOUT|HOSTUNREACH)\b/;
const tooLarge = ["Received message larger than max", "Received message that decompresses to a size larger"];
const garbage = [
  "No status information received",
  "No message received",
  "Too many responses received",
  "Failed to decompress",
];
const codes: ReadonlyMap<Status, string> = new Map<Status, string>([
  ["unavailable", "ERR_RPC_UNAVAILABLE"],
  ["deadline_exceeded", "ERR_DEADLINE_EXCEEDED"],
]);

function begins(text: string, prefixes: readonly string[]): boolean {
  return prefixes.some((prefix) => text.startsWith(prefix));
}

/** Details as the service wrote them; none where they cannot be read. */
function detailsIn(metadata: Metadata): ErrorDetail[] {
  const [bytes] = metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(bytes)) return [];
  try {
    return fromBinary(StatusSchema, bytes).details.map(({ typeUrl, value }) => ({
      typeName: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
      value,
    }));
  } catch {
    return []; // somebody else's bytes: the status itself is still told
  }
}
