import type { ReplyHeaders } from "../headers/reply.ts";
import type { UpstreamRequest } from "./upstream.ts";

/** Of one connection of HTTP/1.1, which HTTP/2 does not have; `host` is `:authority` there. RFC 9113, 8.2.2 and 8.3.1. */
const notInHttp2: ReadonlySet<string> = new Set([
  "connection",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** The head of a request as HTTP/2 has it, name and value by turns, those of the protocol first. */
export function toFields(
  { method, target, headers }: UpstreamRequest,
  { scheme, authority }: { readonly scheme: "http" | "https"; readonly authority: string },
): string[] {
  const fields = [":method", method, ":scheme", scheme, ":authority", authority, ":path", target];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]?.toLowerCase() ?? "";
    const value = headers[at + 1] ?? "";
    if (name === "host") fields[5] = value;
    else if (!notInHttp2.has(name)) fields.push(name, value);
  }
  return fields;
}

/** Fields of a reply as they came, without those of the protocol. @param raw - Name and value by turns. */
export function fromFields(raw: readonly string[]): ReplyHeaders {
  const fields: string[] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] ?? "";
    if (!name.startsWith(":")) fields.push(name, raw[at + 1] ?? "");
  }
  return fields;
}

/** Fields behind a body, for node:http2. @param fields - Name and value by turns. */
export function toTrailers(fields: readonly string[]): Record<string, string | string[]> {
  const trailers = bare<string[]>();
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at]?.toLowerCase() ?? "";
    if (!notInHttp2.has(name)) (trailers[name] ??= []).push(fields[at + 1] ?? "");
  }
  return trailers;
}

/** An object without any names of its own: peers choose which stand in it. */
function bare<Value>(): Record<string, Value> {
  const object: Record<string, Value> = {};
  Object.setPrototypeOf(object, null);
  return object;
}
