import type { IncomingMessage } from "node:http";
import { z } from "zod";
import { type HttpFailure, malformed, toFailure } from "./errors.ts";

/** How large a head may be, on either wire. The bytes of HTTP/1 are counted by the parser, which never has more than these in memory. */
export const headSettings = {
  maxHeaderBytes: z.int().min(1_024).max(65_536).default(16_384).meta({
    description: "Largest request head, in bytes, of all its lines together; a larger one is answered with 431.",
  }),
  maxHeaderLines: z
    .int()
    .min(10)
    .max(1_000)
    .default(100)
    .meta({ description: "Most header lines of a request; one with more is answered with 431." }),
  maxUrlLength: z.int().min(16).max(65_536).default(8_192).meta({
    description:
      "Longest path and query of a request, in bytes, within maxHeaderBytes; a longer one is answered with 414.",
  }),
};

export interface HeadSettings {
  readonly maxHeaderBytes: number;
  readonly maxHeaderLines: number;
  readonly maxUrlLength: number;
}

/** The same, with what is answered past them. */
export interface HeadLimits extends HeadSettings {
  readonly tooManyBytes: HttpFailure;
  readonly tooManyLines: HttpFailure;
  readonly tooLongUrl: HttpFailure;
}

export function headLimitsOf({ maxHeaderBytes, maxHeaderLines, maxUrlLength }: HeadSettings): HeadLimits {
  return {
    maxHeaderBytes,
    maxHeaderLines,
    maxUrlLength,
    tooManyBytes: toFailure({
      code: "ERR_REQUEST_TOO_LARGE",
      httpStatus: 431,
      message: "the request head is larger than the limit",
    }),
    tooManyLines: toFailure({
      code: "ERR_REQUEST_TOO_LARGE",
      httpStatus: 431,
      message: `the request has more than ${maxHeaderLines} header lines`,
    }),
    tooLongUrl: toFailure({
      code: "ERR_REQUEST_TOO_LARGE",
      httpStatus: 414,
      message: `the path and query of the request are longer than ${maxUrlLength} bytes`,
    }),
  };
}

/**
 * What a head of HTTP/1 that the parser lets pass must still not have: whatever two readers of it could take differently.
 * Runs for every request: it looks at characters of strings that are there already, and makes none.
 * @see https://www.rfc-editor.org/rfc/rfc9112
 */
export function refusalOf(request: IncomingMessage, limits: HeadLimits): HttpFailure | undefined {
  const { headers, httpVersionMajor, httpVersionMinor, method, rawHeaders, url = "" } = request;
  if (httpVersionMajor !== 1) return "stream" in request ? undefined : badVersion; // `refusalOfHttp2` has looked
  const { host } = headers;
  if (host === undefined) {
    if (httpVersionMinor > 0) return missingHost;
  } else if (!isHost(host)) return badHost;
  if (url.length > limits.maxUrlLength) return limits.tooLongUrl;
  if (url.charCodeAt(0) === slash ? !isPath(url, 0) : !isOtherTarget(url, method, host)) return badTarget;
  if (method === "TRACE") return traceRefused;
  if (rawHeaders.length > 2 * limits.maxHeaderLines) return limits.tooManyLines;
  // The parser refuses some of these only after the handler has begun, and takes the others for no body at all.
  const coding = headers["transfer-encoding"];
  if (coding !== undefined && (coding.toLowerCase() !== "chunked" || httpVersionMinor === 0))
    return httpVersionMinor > 0 && realCodings.test(coding) ? unknownCoding : badFraming;
  return undefined;
}

const [hash, percent, slash, colon, question, openBracket, backslash, closeBracket] = [
  35, 37, 47, 58, 63, 91, 92, 93,
] as const;

/** 1 for what may stand in the name of a host, 2 for a digit or letter of a hexadecimal number besides. */
const kinds = new Uint8Array(128);
for (const char of "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") kinds[char.charCodeAt(0)] = 1;
for (const char of "abcdefABCDEF0123456789") kinds[char.charCodeAt(0)] = 3;

/** `name`, `name:port`, `[v6]` or `[v6]:port`. Two lines of it have been joined by a comma, which is in none of them. */
export function isHost(host: string): boolean {
  let at = 0;
  if (host.charCodeAt(0) === openBracket) {
    at++;
    while (isHex(host.charCodeAt(at)) || host.charCodeAt(at) === colon || host.charCodeAt(at) === 46) at++;
    if (at < 3 || host.charCodeAt(at) !== closeBracket) return false;
    at++;
  } else {
    while (((kinds[host.charCodeAt(at)] ?? 0) & 1) === 1) at++;
    if (at === 0) return false;
  }
  if (at === host.length) return true;
  if (host.charCodeAt(at) !== colon || host.length - at > 6) return false;
  for (at++; at < host.length; at++) if (host.charCodeAt(at) < 48 || host.charCodeAt(at) > 57) return false;
  return true;
}

/** No fragment, no backslash, no NUL, no escape that is none. In a query only the fragment is looked for. */
export function isPath(url: string, start: number): boolean {
  for (let at = start; at < url.length; at++) {
    const code = url.charCodeAt(at);
    if (code === question) return !url.includes("#", at);
    if (code === hash || code === backslash) return false;
    if (code === percent) {
      const [high, low] = [url.charCodeAt(at + 1), url.charCodeAt(at + 2)];
      if (!isHex(high) || !isHex(low) || (high === 48 && low === 48)) return false;
    }
  }
  return true;
}

/** The absolute form, of the host that the request names besides; and `*`, which is for OPTIONS alone. */
function isOtherTarget(url: string, method: string | undefined, host: string | undefined): boolean {
  if (url === "*") return method === "OPTIONS";
  const authority = /^https?:\/\/([^/?#]*)/i.exec(url);
  if (authority === null || host === undefined) return false;
  return authority[1]?.toLowerCase() === host.toLowerCase() && isPath(url, authority[0].length);
}

function isHex(code: number): boolean {
  return ((kinds[code] ?? 0) & 2) === 2;
}

/** Codings that exist, before the one that frames the body. */
const realCodings = /^(?:(?:(?:x-)?(?:gzip|compress)|deflate|br|zstd)[ \t]*,[ \t]*)+chunked$/i;

const badVersion = malformedAs("this server speaks HTTP/1.0 and HTTP/1.1 on this connection");
const missingHost = malformedAs("an HTTP/1.1 request must name its host");
const badHost = malformedAs("the host header must be there once, and hold one host and no more than its port besides");
const badTarget = malformedAs(
  "the target must be a path without fragment, backslash, NUL or broken escape, or an absolute form that names the same host as the host header",
);
const badFraming = malformedAs("the only transfer-encoding that this server reads is chunked, in HTTP/1.1");
const unknownCoding: HttpFailure = toFailure({
  code: "ERR_REQUEST_REFUSED",
  httpStatus: 501,
  message: "this server reads no compressed transfer-encoding; send the body chunked as it is",
});
const anyButThese = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
export const traceRefused = methodRefused("TRACE is not served");
/** It asks for a tunnel, and this server is no proxy. */
export const connectRefused = methodRefused("CONNECT is not served: this is no proxy");

function malformedAs(message: string): HttpFailure {
  return toFailure({ ...malformed, message });
}

function methodRefused(message: string): HttpFailure {
  const failure = toFailure({ code: "ERR_METHOD_NOT_ALLOWED", httpStatus: 405, message });
  return { ...failure, headers: { allow: anyButThese } };
}
