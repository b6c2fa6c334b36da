import type { Coding, CompressionRules } from "../config/schema-compression.ts";
import { cacheDirectives } from "../headers/cache-control.ts";
import { headerOf } from "../router/conditions.ts";
import { preferredCoding } from "./accept-encoding.ts";

/** What is asked of a request before its reply is compressed. */
export interface CompressionFacts {
  /** Name and value by turns, as the client sent them. */
  readonly requestHeaders: readonly string[];
  /** The route needs a token. */
  readonly hasToken: boolean;
}

/** Fields about the bytes of the body, that would no longer be true. */
const digests = ["content-digest", "repr-digest", "digest", "content-md5", "signature"];
const withoutBody: ReadonlySet<number> = new Set([204, 205, 206, 304]);

/**
 * Whether a service's reply may be compressed, and by what. Where it may be for somebody, its head says so to caches (Vary), also
 * where this client does not want it.
 *
 * @param headers - Of the reply, name and value by turns; Vary is added in place.
 */
export function codingFor(
  rules: CompressionRules,
  status: number,
  headers: string[],
  { requestHeaders, hasToken }: CompressionFacts,
): Coding | undefined {
  if (status < 200 || withoutBody.has(status) || !isFit(rules, headers)) return undefined;
  addVary(headers);
  if (cacheDirectives(headerOf(requestHeaders, "cache-control")).has("no-transform")) return undefined;
  if (!rules.authenticated) {
    const isSecret =
      hasToken || ["authorization", "cookie"].some((name) => headerOf(requestHeaders, name) !== undefined);
    if (isSecret || headerOf(headers, "set-cookie") !== undefined) return undefined;
  }
  return preferredCoding(headerOf(requestHeaders, "accept-encoding"), rules.codings);
}

/** Tells a client of the coding, and takes back what was true of the body before. @param headers - Changed in place. */
export function announceCoding(headers: string[], coding: Coding): void {
  let kept = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const value = headers[at + 1] ?? "";
    const lower = name.toLowerCase();
    if (lower === "content-length" || lower === "accept-ranges" || lower === "content-encoding") continue;
    headers[kept] = name;
    headers[kept + 1] = lower === "etag" ? weakened(value) : value;
    kept += 2;
  }
  headers.length = kept;
  headers.push("content-encoding", coding);
}

/**
 * A client that has a compressed reply asks by the weak tag that came with it; the service answers by its own, strong one, by which the
 * client would not know its reply again. @param headers - Of a 304, changed in place.
 */
export function weakenNotModified(headers: string[], requestHeaders: readonly string[]): void {
  const asked = headerOf(requestHeaders, "if-none-match");
  if (asked === undefined) return;
  for (let at = 0; at < headers.length; at += 2) {
    const value = headers[at + 1] ?? "";
    if (headers[at]?.toLowerCase() !== "etag" || !value.startsWith('"') || !asked.includes(`W/${value}`)) continue;
    headers[at + 1] = weakened(value);
    addVary(headers);
    return;
  }
}

function isFit({ types, minBytes }: CompressionRules, headers: readonly string[]): boolean {
  const type = headerOf(headers, "content-type")?.split(";", 1)[0]?.trim().toLowerCase();
  if (type === undefined || type.startsWith("application/grpc") || !types.some((each) => fits(each, type)))
    return false;
  const coding = headerOf(headers, "content-encoding")?.trim().toLowerCase();
  if (coding !== undefined && coding !== "" && coding !== "identity") return false;
  if (headerOf(headers, "content-range") !== undefined) return false;
  if (cacheDirectives(headerOf(headers, "cache-control")).has("no-transform")) return false;
  if (digests.some((name) => headerOf(headers, name) !== undefined)) return false;
  const length = headerOf(headers, "content-length");
  return length === undefined || Number(length) >= Math.max(1, minBytes);
}

function fits(pattern: string, type: string): boolean {
  if (pattern === type) return true;
  const [group = "", suffix = ""] = pattern.split("*", 2);
  if (!pattern.includes("*") || type === "text/event-stream") return false;
  return type.startsWith(group) && type.endsWith(suffix) && type.length > group.length + suffix.length;
}

function addVary(headers: string[]): void {
  const names =
    headerOf(headers, "vary")
      ?.toLowerCase()
      .split(",")
      .map((name) => name.trim()) ?? [];
  if (!names.includes("*") && !names.includes("accept-encoding")) headers.push("vary", "accept-encoding");
}

function weakened(tag: string): string {
  return tag.startsWith("W/") ? tag : `W/${tag}`;
}
