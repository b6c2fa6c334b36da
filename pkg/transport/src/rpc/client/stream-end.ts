import type { AppError } from "@plinth/kernel";
import { fromConnectCode, toHttpStatus } from "../../status.ts";
import type { RpcMetadata } from "./channel.ts";
import { detailsOf, isRecord, parse, textOf } from "./connect-reply.ts";
import { badReply, type CallTarget } from "./errors.ts";
import { toRemoteError } from "./remote-error.ts";

/** How a stream of replies ended. */
export interface StreamEnd {
  /** What the service says went wrong, if anything did. */
  readonly error: AppError | undefined;
  /** What the HTTP status of that error would have been; 200 where there is none. */
  readonly status: number;
  readonly trailers: RpcMetadata;
}

/**
 * What the last message of a stream says.
 * @throws {@link RpcError} `ERR_RPC_REPLY` for what is none.
 * @see https://connectrpc.com/docs/protocol#error-end-stream
 */
export function endOf(bytes: Buffer, target: CallTarget): StreamEnd {
  const told = parse(bytes);
  if (told === undefined || !isOptionalRecord(told.metadata) || !isOptionalRecord(told.error))
    throw badReply(target, "what is no end of a stream");
  const trailers = trailersOf(told.metadata ?? {});
  if (told.error === undefined || told.error === null) return { error: undefined, status: 200, trailers };
  const { code, message, details } = told.error;
  const status = fromConnectCode(code) ?? "unknown";
  const error = toRemoteError({ ...target, status, message: textOf(message), details: detailsOf(details) });
  return { error, status: toHttpStatus(status), trailers };
}

function isOptionalRecord(value: unknown): value is Readonly<Record<string, unknown>> | null | undefined {
  return value === undefined || value === null || isRecord(value);
}

/** Names in lower case, several values of one name joined. What is no text is left out. */
function trailersOf(metadata: Readonly<Record<string, unknown>>): RpcMetadata {
  return Object.fromEntries(
    Object.entries(metadata).flatMap(([name, values]): [string, string][] => {
      if (!Array.isArray(values)) return [];
      return [[name.toLowerCase(), values.filter((value) => typeof value === "string").join(", ")]];
    }),
  );
}
