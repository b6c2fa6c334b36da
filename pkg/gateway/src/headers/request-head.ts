import { maxTargetLength, parseTarget } from "../path.ts";
import type { Reason } from "../reasons.ts";
import { connectionTokens, handlingOf } from "./names.ts";

/** The part of `http.IncomingMessage` that a request head is read from. */
export interface RawHead {
  readonly url?: string | undefined;
  readonly httpVersionMajor: number;
  readonly httpVersionMinor: number;
  readonly rawHeaders: readonly string[];
}

/** A request head that can be understood in one way only, and what of it may be forwarded. */
export interface RequestHead {
  /** Canonical. */
  readonly path: string;
  /** With its `?`, or empty. */
  readonly query: string;
  /** As the client sent it. */
  readonly host: string;
  /** Lower case, without port and final dot: what routes are matched by. */
  readonly hostName: string;
  /** Headers that may be forwarded, name and value by turns. */
  readonly headers: string[];
  /** The one Authorization header, which is not among `headers`. */
  readonly authorization: string | undefined;
  /** Bytes of the body; undefined when it comes in chunks. 0 when there is none. */
  readonly bodyLength: number | undefined;
  /** Whether Content-Length was there, be it 0. */
  readonly hasLength: boolean;
  /** The protocol asked for, lower case, when Connection asks for an upgrade as well. */
  readonly upgrade: string | undefined;
  readonly via: string;
  /** The client takes fields behind the body. */
  readonly takesTrailers: boolean;
}

export interface Refusal {
  readonly reason: Reason;
  /** Fixed text for the client. */
  readonly detail?: string;
}

/**
 * Checks what the parser of node:http lets through, and takes the headers apart in one pass.
 *
 * @param maxLines - Most header lines.
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-3
 */
export function readRequestHead(raw: RawHead, maxLines: number): RequestHead | Refusal {
  const { rawHeaders } = raw;
  if (raw.httpVersionMajor !== 1 || raw.httpVersionMinor > 1) return refusals.version;
  if (rawHeaders.length > maxLines * 2) return { reason: "headers_too_large" };
  const url = raw.url ?? "";
  if (url.length > maxTargetLength) return { reason: "target_too_long" };

  const headers: string[] = [];
  let host: string | undefined;
  let authorization: string | undefined;
  let connection: string | undefined;
  let length: string | undefined;
  let coding: string | undefined;
  let upgrade: string | undefined;
  let via = "";
  let takesTrailers = false;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? "";
    const value = rawHeaders[at + 1] ?? "";
    switch (handlingOf(name)) {
      case "pass":
        headers.push(name, value);
        break;
      case "drop":
      case "expect":
        break;
      case "host":
        if (host !== undefined) return { reason: "invalid_host" };
        host = value;
        break;
      case "authorization":
        if (authorization !== undefined) return { reason: "duplicate_authorization" };
        authorization = value;
        break;
      case "connection":
        connection = connection === undefined ? value : `${connection}, ${value}`;
        break;
      case "content-length":
        if (length !== undefined) return refusals.framing;
        length = value;
        break;
      case "transfer-encoding":
        if (coding !== undefined) return refusals.framing;
        coding = value;
        break;
      case "upgrade":
        upgrade = upgrade === undefined ? value : `${upgrade}, ${value}`;
        break;
      case "te":
        takesTrailers ||= raw.httpVersionMinor === 1 && /(?:^|,)[ \t]*trailers[ \t]*(?:,|$)/i.test(value);
        break;
      case "via":
        via = via === "" ? value : `${via}, ${value}`;
        break;
    }
  }

  const hostName = host === undefined ? undefined : hostNameOf(host);
  if (host === undefined || hostName === undefined) return { reason: "invalid_host" };
  const target = parseTarget(url);
  if ("fault" in target) return { reason: "invalid_target", detail: target.fault };
  if (target.authority !== undefined && target.authority.toLowerCase() !== host.toLowerCase()) {
    return { reason: "invalid_host" };
  }
  const framing = framingFault(raw, length, coding);
  if (framing) return framing;
  const tokens = connection === undefined ? [] : connectionTokens(connection);
  return {
    path: target.path,
    query: target.query,
    host,
    hostName,
    headers: tokens.length === 0 ? headers : withoutNames(headers, tokens),
    authorization,
    bodyLength: coding === undefined ? Number(length ?? 0) : undefined,
    hasLength: length !== undefined,
    upgrade: upgrade !== undefined && tokens.includes("upgrade") ? upgrade.toLowerCase() : undefined,
    via: tokens.includes("via") ? "" : via,
    takesTrailers,
  };
}

const refusals = {
  version: { reason: "malformed_request", detail: "the protocol version must be HTTP/1.1 or HTTP/1.0" },
  framing: { reason: "malformed_request", detail: "the length of the body is not given in one way" },
  coding: { reason: "malformed_request", detail: "Transfer-Encoding must be the one word chunked" },
  oldCoding: { reason: "malformed_request", detail: "Transfer-Encoding is not part of HTTP/1.0" },
  length: { reason: "malformed_request", detail: "Content-Length must be a number" },
} as const satisfies Record<string, Refusal>;

function framingFault(
  { httpVersionMinor }: RawHead,
  length: string | undefined,
  coding: string | undefined,
): Refusal | undefined {
  if (length !== undefined && !/^\d{1,15}$/.test(length)) return refusals.length;
  if (coding === undefined) return undefined;
  if (length !== undefined) return refusals.framing;
  if (httpVersionMinor === 0) return refusals.oldCoding;
  const word = coding.toLowerCase();
  if (word === "chunked") return undefined;
  return /^[a-z-]+(?:[ \t]*,[ \t]*[a-z-]+)*$/.test(word) ? { reason: "coding_unsupported" } : refusals.coding;
}

function withoutNames(headers: readonly string[], names: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    if (!names.includes(name.toLowerCase())) kept.push(name, headers[at + 1] ?? "");
  }
  return kept;
}

let lastHost = "";
let lastHostName: string | undefined;

/** Most requests name the host of the one before. */
function hostNameOf(host: string): string | undefined {
  if (host !== lastHost) {
    const [, name] = /^([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/.exec(host) ?? [];
    lastHostName = name?.toLowerCase().replace(/\.$/, "") || undefined;
    lastHost = host;
  }
  return lastHostName;
}
