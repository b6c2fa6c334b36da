import { type HttpFailure, malformed, toFailure } from "./errors.ts";
import { connectRefused, type HeadLimits, isHost, isPath, traceRefused } from "./head.ts";
import type { Http2Request } from "./http2-exchange.ts";

/**
 * What a head that nghttp2 lets pass must still not have. It has refused by then, with PROTOCOL_ERROR, names in upper case,
 * headers of a connection, spaces around values, and characters that no path may have.
 * @see https://www.rfc-editor.org/rfc/rfc9113#section-8.3.1
 */
export function refusalOfHttp2(
  { target, headers, method, url, rawHeaders }: Http2Request,
  limits: HeadLimits,
): HttpFailure | undefined {
  if (target.protocol !== undefined || method === "CONNECT") return connectRefused;
  if (target.scheme !== "http" && target.scheme !== "https") return badScheme;
  const { host } = headers;
  if (host === undefined) return missingHost;
  if (!isHost(host)) return badHost;
  if (target.authority !== undefined && target.authority.toLowerCase() !== host.toLowerCase()) return otherHost;
  if (url.length > limits.maxUrlLength) return limits.tooLongUrl;
  if (url === "*" ? method !== "OPTIONS" : !url.startsWith("/") || !isPath(url, 0)) return badPath;
  if (method === "TRACE") return traceRefused;
  if (rawHeaders.length > 2 * limits.maxHeaderLines) return limits.tooManyLines;
  // nghttp2 looks at it only once the caller has acknowledged our settings
  let bytes = 0;
  for (const text of rawHeaders) bytes += text.length;
  if (bytes > limits.maxHeaderBytes) return limits.tooManyBytes;
  return undefined;
}

const badScheme = malformedAs("the :scheme must be http or https");
const missingHost = malformedAs("an HTTP/2 request must name its host");
const badHost = malformedAs("the :authority must hold one host and no more than its port besides");
const otherHost = malformedAs("the host header must name the same host as the :authority");
const badPath = malformedAs("the :path must be one without fragment, backslash, NUL or broken escape");

function malformedAs(message: string): HttpFailure {
  return toFailure({ ...malformed, message });
}
