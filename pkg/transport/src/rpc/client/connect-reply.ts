import { type DescMethod, fromBinary, fromJsonString, type MessageShape } from "@bufbuild/protobuf";
import type { Status } from "@plinth/kernel";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { fromConnectCode, fromHttpStatus } from "../../status.ts";
import type { ErrorDetail } from "../details.ts";
import type { RpcMetadata } from "./channel.ts";
import { misdirected } from "../../instance.ts";
import { badReply, badStatus, type CallTarget, replyTooLarge, unreachable } from "./errors.ts";
import { toRemoteError } from "./remote-error.ts";
import type { HttpReply } from "./send.ts";

export interface ReplyOptions {
  readonly target: CallTarget;
  readonly codec: "proto" | "json";
  readonly acceptGzip: boolean;
  readonly maxBytes: number;
}

/**
 * The message in a reply.
 * @throws what the service says went wrong, or {@link RpcError} `ERR_RPC_REPLY`, `ERR_RPC_REPLY_TOO_LARGE`.
 */
export async function readReply<M extends DescMethod>(
  method: M,
  reply: HttpReply,
  options: ReplyOptions,
): Promise<MessageShape<M["output"]>> {
  const { target, codec } = options;
  const { status } = reply;
  const type = mediaTypeOf(reply.headers);
  const body = await inflated(reply, options);
  if (status !== 200) throw toFailure(status, type, body, target);
  if (type !== `application/${codec}`) throw badReply(target, `${printable(type)}, not application/${codec}`);
  return decode(method, codec, body, target);
}

/**
 * The message in these bytes.
 * @throws {@link RpcError} `ERR_RPC_REPLY`.
 */
export function decode<M extends DescMethod>(
  method: M,
  codec: ReplyOptions["codec"],
  body: Buffer,
  target: CallTarget,
): MessageShape<M["output"]> {
  const output: M["output"] = method.output;
  try {
    return codec === "proto"
      ? fromBinary(output, body)
      : fromJsonString(output, body.toString(), { ignoreUnknownFields: true });
  } catch (cause) {
    throw badReply(target, `what is no ${output.typeName}`, { cause });
  }
}

/** What came ahead of the reply, and what came after it under `trailer-`. */
export function metadataOf(headers: RpcMetadata): { readonly headers: RpcMetadata; readonly trailers: RpcMetadata } {
  const ahead: Record<string, string> = {};
  const after: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith("trailer-")) after[name.slice("trailer-".length)] = value;
    else ahead[name] = value;
  }
  return { headers: ahead, trailers: after };
}

/** What kind of reply it is, in lower case and without parameters. */
export function mediaTypeOf(headers: RpcMetadata): string {
  return (headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/** What a foreign server sends may be anything, and reaches logs. */
export function printable(type: string): string {
  return /^[a-z0-9!#$&^_.+/-]{1,80}$/.test(type) ? type : "no media type that can be read";
}

async function inflated({ headers, body }: HttpReply, { target, acceptGzip, maxBytes }: ReplyOptions): Promise<Buffer> {
  const encoding = headers["content-encoding"] ?? "identity";
  if (encoding === "identity" || body.length === 0) return body;
  if (encoding !== "gzip" || !acceptGzip) throw badReply(target, "an encoding that it was not asked for");
  return gunzipped(body, target, maxBytes);
}

/**
 * What these bytes are once they are inflated.
 * @throws {@link RpcError} `ERR_RPC_REPLY`, `ERR_RPC_REPLY_TOO_LARGE`.
 */
export async function gunzipped(body: Buffer, target: CallTarget, maxBytes: number): Promise<Buffer> {
  try {
    return await promisify(gunzip)(body, { maxOutputLength: maxBytes });
  } catch (cause) {
    throw cause instanceof RangeError
      ? replyTooLarge(target, maxBytes, cause)
      : badReply(target, "what is no gzip", { cause });
  }
}

/** What a reply with another status than 200 says went wrong. */
export function toFailure(status: number, type: string, body: Buffer, target: CallTarget): Error {
  // RFC 9110, 15.5.20: whoever answers is not who was meant, and has done nothing
  if (status === 421) return unreachable(target, misdirected(), true);
  if (type === "application/json" || type === "application/problem+json") {
    const told = parse(body);
    const connect = type === "application/json" ? fromConnectCode(told?.code) : undefined;
    if (connect !== undefined)
      return toRemoteError({
        ...target,
        status: connect,
        message: textOf(told?.message),
        details: detailsOf(told?.details),
      });
    if (type === "application/problem+json" && typeof told?.code === "string")
      return toRemoteError({
        ...target,
        code: told.code,
        status: told.code === "ERR_ROUTE_NOT_FOUND" ? "unimplemented" : fromHttpStatus(status),
        message: textOf(told.detail),
        details: [],
      });
  }
  return badStatus(target, `status ${status} and no error of the protocol`, {
    status: byHttp.get(status) ?? "unknown",
  });
}

/** @see https://connectrpc.com/docs/protocol#http-to-error-code */
const byHttp: ReadonlyMap<number, Status> = new Map<number, Status>([
  [400, "internal"],
  [401, "unauthenticated"],
  [403, "permission_denied"],
  [404, "unimplemented"],
  [429, "unavailable"],
  [502, "unavailable"],
  [503, "unavailable"],
  [504, "unavailable"],
]);

/** A JSON object; undefined for whatever else the bytes are. */
export function parse(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined; // then the HTTP status alone says what it is
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The details of an error in JSON; what is none is left out. */
export function detailsOf(value: unknown): ErrorDetail[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((detail: unknown) =>
    isRecord(detail) && typeof detail.type === "string" && typeof detail.value === "string"
      ? [{ typeName: detail.type, value: Buffer.from(detail.value, "base64") }]
      : [],
  );
}
