import { isFieldText, isTarget, isToken } from "./http1-fields.ts";
import type { UpstreamRequest } from "./upstream.ts";

/** A request's head as it is written. */
export interface RequestText {
  readonly text: string;
  /** Bytes of the body; undefined when it goes in chunks. */
  readonly bodyLength: number | undefined;
}

/** Methods whose requests say that they have no body. RFC 9110, 8.6. */
const usuallyWithBody: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);

/** @returns What is wrong with the request instead, where writing it would let a part of it be read as something else. */
export function toRequestText({ method, target, headers, body, upgrade }: UpstreamRequest): RequestText | string {
  if (!isToken(method)) return "the method is no token";
  if (!isTarget(target)) return "the target holds a character that it must not";
  if (upgrade !== undefined && !isToken(upgrade)) return "the protocol asked for is no token";
  const connection = upgrade === undefined ? "keep-alive" : `upgrade\r\nupgrade: ${upgrade}`;
  let text = `${method} ${target} HTTP/1.1\r\nconnection: ${connection}\r\n`;
  let length: string | undefined;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const value = headers[at + 1] ?? "";
    if (!isToken(name) || !isFieldText(value)) return `the header ${JSON.stringify(name)} cannot be written`;
    if (isFraming(name)) {
      const isLength = name.length === 14;
      if (!isLength || length !== undefined || !/^\d{1,15}$/.test(value)) return "the length is not given in one way";
      length = value;
    }
    text += `${name}: ${value}\r\n`;
  }
  if (body === null) {
    if (length !== undefined && Number(length) > 0) return "a length is given, but no body";
    return {
      text: length === undefined && usuallyWithBody.has(method) ? `${text}content-length: 0\r\n\r\n` : `${text}\r\n`,
      bodyLength: 0,
    };
  }
  if (length === undefined) return { text: `${text}transfer-encoding: chunked\r\n\r\n`, bodyLength: undefined };
  return { text: `${text}\r\n`, bodyLength: Number(length) };
}

/** What goes behind the last chunk. Fields that cannot be written are left out: the body is out by then. */
export function toTrailerText(fields: readonly string[]): string {
  let text = "";
  for (let at = 0; at < fields.length; at += 2) {
    const [name, value] = [fields[at] ?? "", fields[at + 1] ?? ""];
    if (isToken(name) && isFieldText(value) && !isFraming(name)) text += `${name}: ${value}\r\n`;
  }
  return text;
}

function isFraming(name: string): boolean {
  if (name.length === 14) return name.toLowerCase() === "content-length";
  return name.length === 17 && name.toLowerCase() === "transfer-encoding";
}
