import type { IncomingHttpHeaders } from "node:http";
import { promisify } from "node:util";
import { messageOf } from "@plinth/kernel";
import { TransportError } from "../errors.ts";

/** How messages are written: in the request and, alike, in its reply. */
export type Codec = "json" | "proto";

/** The media types of unary messages, as `accept-post` lists them. */
export const mediaTypes = "application/json, application/proto";

/** The encodings of messages that are read, as `accept-encoding` lists them. */
export const encodings = "gzip, identity";

/** A message as it was sent, before it is read. */
export interface SentMessage {
  readonly codec: Codec;
  readonly isCompressed: boolean;
  readonly bytes: Uint8Array;
}

/**
 * The codec that a POST names; undefined where it has neither a media type nor, as fastify has made sure, a body.
 * @throws {@link TransportError} `ERR_REQUEST_MEDIA_TYPE`.
 */
export function codecOf({ "content-type": type }: IncomingHttpHeaders): Codec | undefined {
  if (type === "application/proto") return "proto";
  if (type === "application/json") return "json";
  if (type === undefined) return undefined;
  const [, name] = /^application\/(json|proto)[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?$/i.exec(type) ?? [];
  if (name === undefined) throw wrongMediaType();
  return name.toLowerCase() === "json" ? "json" : "proto";
}

/** The media types of streams, as `accept-post` lists them. */
export const streamTypes = "application/connect+json, application/connect+proto";

/** The codec of a stream that a POST names; undefined where it names none. */
export function streamCodecOf({ "content-type": type = "" }: IncomingHttpHeaders): Codec | undefined {
  const [, name] =
    /^application\/connect\+(json|proto)[ \t]*(?:;[ \t]*charset[ \t]*=[ \t]*"?utf-8"?[ \t]*)?$/i.exec(type) ?? [];
  if (name === undefined) return undefined;
  return name.toLowerCase() === "json" ? "json" : "proto";
}

export function wrongMediaType(): TransportError {
  return new TransportError(
    "ERR_REQUEST_MEDIA_TYPE",
    "invalid_argument",
    `this method reads ${mediaTypes}; send one of them`,
  );
}

/**
 * True for a message that is compressed.
 * @throws {@link TransportError} `ERR_RPC_UNIMPLEMENTED` when it is in a way that nobody here reads.
 */
export function isGzip(encoding: string | undefined): boolean {
  if (encoding === undefined || encoding === "identity") return false;
  if (encoding === "gzip") return true;
  throw new TransportError(
    "ERR_RPC_UNIMPLEMENTED",
    "unimplemented",
    `this server reads no messages of that encoding; it reads ${encodings}`,
  );
}

/** @throws {@link TransportError} `ERR_REQUEST_REFUSED` for a version of the protocol that is none or to come. */
export function checkVersion(given: unknown, expected: string, name: string): void {
  if (given !== undefined && given !== expected)
    throw new TransportError("ERR_REQUEST_REFUSED", "invalid_argument", `${name} must be ${expected}`);
}

/**
 * The message in the query of a GET. The first of several parameters of one name counts.
 * @throws {@link TransportError} `ERR_REQUEST_REFUSED`, `ERR_REQUEST_MEDIA_TYPE`, `ERR_RPC_UNIMPLEMENTED`, `ERR_REQUEST_BODY`.
 * @see https://connectrpc.com/docs/protocol#unary-get-request
 */
export function messageInQuery(url: string): SentMessage {
  const given = parametersOf(url);
  checkVersion(textOf(given.get("connect")), "v1", "the parameter connect");
  const codec = textOf(given.get("encoding"));
  if (codec !== "json" && codec !== "proto") throw wrongEncoding();
  const message = given.get("message");
  if (message === undefined) throw noMessage("the parameter message is missing");
  const isCompressed = isGzip(textOf(given.get("compression")));
  const base64 = textOf(given.get("base64"));
  if (base64 !== undefined && base64 !== "1") throw noMessage("the parameter base64 must be 1 or absent");
  const bytes = decodePercent(message);
  return { codec, isCompressed, bytes: base64 === "1" ? decodeBase64(bytes.toString("latin1")) : bytes };
}

function wrongEncoding(): TransportError {
  return new TransportError(
    "ERR_REQUEST_MEDIA_TYPE",
    "invalid_argument",
    "the parameter encoding must be json or proto",
  );
}

function noMessage(what: string): TransportError {
  return new TransportError("ERR_REQUEST_BODY", "invalid_argument", what);
}

/** As they were sent, still escaped. */
function parametersOf(url: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const start = url.indexOf("?");
  if (start < 0) return found;
  for (const part of url.slice(start + 1).split("&")) {
    const equals = part.indexOf("=");
    const name = equals < 0 ? part : part.slice(0, equals);
    if (!found.has(name)) found.set(name, equals < 0 ? "" : part.slice(equals + 1));
  }
  return found;
}

function textOf(escaped: string | undefined): string | undefined {
  return escaped === undefined ? undefined : decodePercent(escaped).toString();
}

/** Bytes, since a message in binary is no text. */
function decodePercent(escaped: string): Buffer {
  if (!escaped.includes("%") && !escaped.includes("+")) return Buffer.from(escaped);
  if (/%(?![0-9A-Fa-f]{2})/.test(escaped)) throw noMessage("an escape in the query is broken");
  const latin1 = Buffer.from(escaped.replaceAll("+", " ")).toString("latin1");
  const text = latin1.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(text, "latin1");
}

/** Of either alphabet, with or without padding. */
function decodeBase64(text: string): Buffer {
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) throw noMessage("the parameter message is no base64");
  return Buffer.from(text, "base64");
}

/**
 * The bytes that were compressed.
 * @throws {@link TransportError} `ERR_REQUEST_BODY`, or `ERR_REQUEST_TOO_LARGE` when they are more than the limit.
 */
export async function inflate(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const { gunzip } = await import("node:zlib");
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: maxBytes });
  } catch (cause) {
    if (cause instanceof RangeError)
      throw new TransportError(
        "ERR_REQUEST_TOO_LARGE",
        "resource_exhausted",
        `the message is larger than ${maxBytes} bytes when it is inflated`,
        { cause },
      );
    throw new TransportError("ERR_REQUEST_BODY", "invalid_argument", `the body is no gzip: ${messageOf(cause)}`, {
      cause,
    });
  }
}
