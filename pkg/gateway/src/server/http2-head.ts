import { METHODS } from "node:http";
import type { Refusal } from "../headers/request-head.ts";

/** The head of a request over HTTP/2 in the words of HTTP/1.1, so that it goes through the same checks as any other. */
export interface Http2Head {
  readonly method: string;
  readonly url: string;
  /** Name and value by turns. */
  readonly rawHeaders: string[];
  /** Value of Expect, lower case. */
  readonly expects: string | undefined;
  /** What HTTP/1.1 has no words for, or none that can be read in one way only. */
  readonly refusal: Refusal | undefined;
}

export interface Http2HeadLimits {
  readonly maxHeaderBytes: number;
  readonly maxHeaderLines: number;
}

/**
 * Nghttp2 has refused by then, with PROTOCOL_ERROR, what RFC 9113 calls malformed: this holds it to that all the same, as every
 * field here may become a line of HTTP/1.1.
 *
 * @param fields - Name and value by turns, pseudo-headers among them.
 * @param hasBody - Whether more than the head is to come.
 * @see https://www.rfc-editor.org/rfc/rfc9113#section-8
 */
export function readHttp2Head(fields: readonly string[], hasBody: boolean, limits: Http2HeadLimits): Http2Head {
  const pseudo = new Map<string, string>();
  const rawHeaders: string[] = [];
  let cookie: string | undefined;
  let expects: string | undefined;
  let hasLength = false;
  let bytes = 0;
  let lines = 0;
  let fault: Refusal | undefined;
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    const value = fields[at + 1] ?? "";
    bytes += name.length + value.length;
    if (name.startsWith(":")) {
      if (pseudo.has(name) || !pseudoHeaders.has(name)) fault ??= faults.pseudo;
      pseudo.set(name, value);
      continue;
    }
    lines++;
    if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(name)) fault ??= faults.name;
    else if (!/^(?:[!-~\u0080-\u00ff](?:[\t -~\u0080-\u00ff]*[!-~\u0080-\u00ff])?)?$/.test(value))
      fault ??= faults.value;
    else if (ofConnections.has(name) || (name === "te" && value !== "trailers")) fault ??= faults.connection;
    // Comes in crumbs, so that it packs better. RFC 9113, 8.2.3.
    if (name === "cookie") cookie = cookie === undefined ? value : `${cookie}; ${value}`;
    else rawHeaders.push(name, value);
    if (name === "expect") expects = value.toLowerCase();
    hasLength ||= name === "content-length";
  }
  if (cookie !== undefined) rawHeaders.push("cookie", cookie);
  if (hasBody && !hasLength) rawHeaders.push("transfer-encoding", "chunked");
  const method = pseudo.get(":method") ?? "";
  const url = pseudo.get(":path") ?? "";
  const refusal =
    fault ??
    hostFault(rawHeaders, pseudo.get(":authority")) ??
    targetFault(method, url, pseudo) ??
    (bytes > limits.maxHeaderBytes || lines > limits.maxHeaderLines ? tooLarge : undefined);
  return { method, url, rawHeaders, expects, refusal };
}

const pseudoHeaders: ReadonlySet<string> = new Set([":method", ":scheme", ":authority", ":path", ":protocol"]);
const methods: ReadonlySet<string> = new Set(METHODS);

/** What HTTP/1 says of a connection, and HTTP/2 must not. RFC 9113, 8.2.2. */
const ofConnections: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** Puts the authority in the place of a host that is not there. */
function hostFault(rawHeaders: string[], authority: string | undefined): Refusal | undefined {
  if (authority === undefined) return undefined; // whether there is a host is looked at with the rest
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at] !== "host") continue;
    hosts++;
    if (rawHeaders[at + 1]?.toLowerCase() !== authority.toLowerCase()) return { reason: "invalid_host" };
  }
  if (hosts === 0) rawHeaders.unshift("host", authority);
  return undefined;
}

function targetFault(method: string, url: string, pseudo: ReadonlyMap<string, string>): Refusal | undefined {
  if (method === "CONNECT" || pseudo.has(":protocol")) return { reason: "method_not_allowed" };
  if (!methods.has(method)) return faults.method;
  const scheme = pseudo.get(":scheme");
  if (scheme !== "http" && scheme !== "https") return faults.scheme;
  return url.startsWith("/") || url === "*" ? undefined : faults.path;
}

const tooLarge: Refusal = { reason: "headers_too_large" };

const faults = {
  pseudo: { reason: "malformed_request", detail: "a pseudo-header is repeated or unknown" },
  name: {
    reason: "malformed_request",
    detail: "a header name is empty, in upper case, or has a character that none may have",
  },
  value: {
    reason: "malformed_request",
    detail: "a header value has a character that none may have, or space around it",
  },
  connection: { reason: "malformed_request", detail: "headers of a connection are not part of HTTP/2" },
  method: { reason: "malformed_request", detail: "the method is unknown" },
  scheme: { reason: "malformed_request", detail: "the :scheme must be http or https" },
  path: { reason: "invalid_target", detail: "the :path must begin with a slash" },
} as const satisfies Record<string, Refusal>;
