import type { FailureKind } from "./upstream.ts";

const byCode: ReadonlyMap<string, FailureKind> = new Map<string, FailureKind>([
  ["UND_ERR_CONNECT_TIMEOUT", "connect_timeout"],
  ["UND_ERR_HEADERS_TIMEOUT", "timeout"],
  ["UND_ERR_BODY_TIMEOUT", "stalled"],
  ["UND_ERR_HEADERS_OVERFLOW", "invalid"],
  ["UND_ERR_RES_CONTENT_LENGTH_MISMATCH", "invalid"],
  ["UND_ERR_INVALID_ARG", "unsendable"],
  ["UND_ERR_NOT_SUPPORTED", "unsendable"],
]);

/**
 * What an error of undici means.
 * @param sent - Whether the connection stood and the request was being written.
 */
export function kindOf(error: Error & { readonly code?: unknown }, sent: boolean): FailureKind {
  const code = typeof error.code === "string" ? error.code : "";
  const known = byCode.get(code);
  if (known !== undefined) return known;
  if (!sent) return code === "ETIMEDOUT" ? "connect_timeout" : "unreachable";
  // What the HTTP parser refuses, and the two replies that undici refuses by message alone: an unasked 100 or 101.
  if (error.name === "HTTPParserError" || /^bad (?:response|upgrade)$/.test(error.message)) return "invalid";
  return "reset";
}
