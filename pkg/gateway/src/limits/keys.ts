import { createHash } from "node:crypto";
import type { Caller } from "../auth/authenticator.ts";
import type { KeyPart } from "../config/schema-limits.ts";
import type { RequestHead } from "../headers/request-head.ts";
import type { Exchange } from "../server/exchange.ts";
import { addressKey } from "../server/route.ts";

/** Who a request counts for. */
export type KeyOf = (exchange: Exchange, head: RequestHead, caller: Caller | undefined) => string;

/** What is longer is kept as its hash, so that no client decides how much memory a key takes. */
const maxPlainChars = 64;

/** Parts of different kinds never make the same key, nor does what a client sends make that of another's address or subject. */
export function keyOf(by: KeyPart | readonly KeyPart[]): KeyOf {
  const parts = (Array.isArray(by) ? by : [by]).map(partOf);
  const [only] = parts;
  if (only && parts.length === 1) return only;
  return (...of) => JSON.stringify(parts.map((part) => part(...of)));
}

/** Whether it can tell who a request counts for only once its caller is known. */
export function needsCaller(by: KeyPart | readonly KeyPart[]): boolean {
  return [by].flat().some((part) => part === "subject" || (typeof part === "object" && "claim" in part));
}

function partOf(part: KeyPart): KeyOf {
  if (part === "address") return addressPart;
  if (part === "route") return ({ taken }) => `route ${taken?.name ?? ""}`;
  if (part === "subject") return (exchange, _head, caller) => caller?.known.limitKey ?? addressPart(exchange);
  if ("claim" in part) {
    return (exchange, _head, caller) => {
      const value = caller?.known.claims[part.claim];
      if (caller === undefined || !isPlain(value)) return addressPart(exchange);
      return `claim ${bounded(JSON.stringify([caller.known.identity.issuer, value]))}`;
    };
  }
  if ("header" in part) {
    return (exchange, head) => {
      const value = headerOf(head, part.header);
      return value === undefined ? addressPart(exchange) : `header ${bounded(value)}`;
    };
  }
  return (exchange, head) => {
    const value = headerOf(head, part.apiKey);
    return value === undefined ? addressPart(exchange) : `key ${hashOf(value)}`;
  };
}

function addressPart({ clientAddress }: Exchange): string {
  return addressKey(clientAddress);
}

/** All values of a header, as one; undefined where it is absent or empty. */
function headerOf({ headers }: RequestHead, name: string): string | undefined {
  let found: string | undefined;
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() !== name) continue;
    const value = headers[at + 1] ?? "";
    found = found === undefined ? value : `${found}, ${value}`;
  }
  return found === "" ? undefined : found;
}

function isPlain(value: unknown): value is string | number | boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function bounded(value: string): string {
  return value.length > maxPlainChars ? `#${hashOf(value)}` : value;
}

function hashOf(value: string): string {
  return createHash("sha256").update(value, "latin1").digest("base64url").slice(0, 22);
}
