import { claimAt, type ClaimPath, type Claims } from "@plinth/transport/jwt";
import { headerText } from "../headers/outgoing.ts";

const maxValueLength = 1_024;

/** Claims as header values, made once for each token. */
export interface ClaimHeaders {
  /** Name and value by turns. */
  readonly flat: readonly string[];
  /** The header that a claim cannot be put into. */
  readonly unusable: string | undefined;
}

/**
 * What of a token services get as headers. Texts are escaped as those of the identity are, so that `decodeURIComponent` gives them
 * back; a list is its values with spaces between. A claim that is not there makes no header; one that is no text, number, boolean or
 * list of those, holds control characters, or is longer than 1024 characters cannot be used.
 */
export function toClaimHeaders(claims: Claims, headers: Readonly<Record<string, ClaimPath>>): ClaimHeaders {
  const flat: string[] = [];
  for (const [name, path] of Object.entries(headers)) {
    const claim = claimAt(claims, path) ?? undefined;
    if (claim === undefined) continue;
    const value = toValue(claim);
    if (value === undefined) return { flat: [], unusable: name };
    flat.push(name, value);
  }
  return { flat, unusable: undefined };
}

function toValue(claim: unknown): string | undefined {
  const parts: unknown[] = Array.isArray(claim) ? claim : [claim];
  const texts = parts.map((part) => toText(part));
  if (!texts.every((text) => text !== undefined)) return undefined;
  const value = texts.join(" ");
  return value.length <= maxValueLength ? value : undefined;
}

function toText(part: unknown): string | undefined {
  if (typeof part === "number" || typeof part === "boolean") return `${part}`;
  return typeof part === "string" && !/\p{Cc}/u.test(part) ? headerText(part) : undefined;
}
