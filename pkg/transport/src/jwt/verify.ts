import { compactVerify, errors, type JWSHeaderParameters } from "jose";
import type { Identity } from "../auth.ts";
import { type Claims, claimAt, wordsOf } from "./claims.ts";
import type { KeySet } from "./key-set.ts";
import type { ClaimPath } from "./provider.ts";
import { parseStrictObject } from "./strict-json.ts";

/** Why a token is refused: a fixed word for operators, never for the caller. */
export type TokenFault =
  | "malformed"
  | "header"
  | "algorithm"
  | "type"
  | "key_unknown"
  | "signature"
  | "issuer"
  | "audience"
  | "subject"
  | "scope"
  | "expiry_missing"
  | "expired"
  | "not_yet_valid"
  | "lifetime"
  | "claim_missing"
  | "revoked";

export interface TokenRules {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly algorithms: readonly string[];
  readonly clockSkewMs: number;
  /** Default `any`. */
  readonly audienceMatch?: "any" | "all";
  /** Values of `typ`, in lower case and without `application/`; `none` is a token without. Default `at+jwt`, `jwt`, `none`. */
  readonly types?: readonly string[];
  /** From `iat` to `exp`, in milliseconds. Default: any. */
  readonly maxLifetimeMs?: number | undefined;
  /** Claims that must be there and not null. Default none. */
  readonly requiredClaims?: readonly string[];
  /** Default `roles`. */
  readonly rolesClaim?: ClaimPath;
}

/** A token taken apart, with nothing verified yet. */
export interface UnverifiedToken {
  readonly header: JWSHeaderParameters;
  readonly claims: Claims;
}

/** Who a token's issuer says it is of. */
export interface TokenIdentity extends Identity {
  /** The token's `iss`. */
  readonly issuer: string;
  /** None where the claim is no text and no list of texts. */
  readonly roles: readonly string[];
}

export interface VerifiedToken {
  readonly identity: TokenIdentity;
  /** When it expires, in milliseconds since the Unix epoch, without skew. */
  readonly expiresAtMs: number;
}

export const maxTokenLength = 8_192;
const maxKidBytes = 256;
const usualTypes: readonly string[] = ["at+jwt", "jwt", "none"];

/** Takes a compact JWS apart, strictly: canonical base64url, valid UTF-8, objects whose members are there once. */
export function takeApart(token: string): UnverifiedToken | "malformed" {
  const parts = token.split(".");
  const [head = "", body = "", signature = ""] = parts;
  if (parts.length !== 3 || token.length > maxTokenLength || signature === "") return "malformed";
  try {
    for (const part of parts) if (Buffer.from(part, "base64url").toString("base64url") !== part) return "malformed";
    return { header: parseStrictObject(utf8(head)), claims: parseStrictObject(utf8(body)) };
  } catch {
    return "malformed"; // whichever way: the client is told nothing more, and there is nothing more to log
  }
}

/** What can be said against a token before any key is asked for. */
export function headerFault(
  { alg, typ, kid, crit, b64, ...rest }: JWSHeaderParameters,
  { algorithms, types = usualTypes }: Pick<TokenRules, "algorithms" | "types">,
): TokenFault | undefined {
  if (typeof alg !== "string" || !algorithms.includes(alg)) return "algorithm";
  const type = typeOf(typ);
  if (type === undefined || !types.includes(type)) return "type";
  if (kid !== undefined && (typeof kid !== "string" || Buffer.byteLength(kid) > maxKidBytes)) return "header";
  // Extensions that must be understood: none is. Keys that the token brings along (jwk, jku, x5c, x5u) are never looked at.
  return crit !== undefined || b64 !== undefined || "enc" in rest || "zip" in rest ? "header" : undefined;
}

/** @returns `none` for a token without a type, undefined for what is no type: also for one that is called `none`. */
function typeOf(typ: unknown): string | undefined {
  if (typ === undefined) return "none";
  if (typeof typ !== "string") return undefined;
  const type = typ.toLowerCase().replace(/^application\//, "");
  return type === "none" ? undefined : type;
}

/** Whether one of the keys has signed the token: says what is wrong if not. */
export async function verify(token: string, keys: KeySet, { algorithms }: TokenRules): Promise<TokenFault | undefined> {
  try {
    await compactVerify(token, keys.keyFor, { algorithms: [...algorithms] });
    return undefined;
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
      return "key_unknown";
    // A key that does not fit the algorithm, or cannot be imported, verifies nothing either.
    return "signature";
  }
}

/**
 * Reads the claims of a token whose signature holds.
 * @param nowMs - Milliseconds since the Unix epoch.
 */
export function checkClaims(claims: Claims, rules: TokenRules, nowMs: number): VerifiedToken | TokenFault {
  const { iss, aud, sub, exp, nbf, iat, scope, scp } = claims;
  if (iss !== rules.issuer) return "issuer";
  if (!isForUs(aud, rules)) return "audience";
  // Half a character has no form of its own in a header: two such subjects would be one to services.
  if (typeof sub !== "string" || sub === "" || !sub.isWellFormed()) return "subject";
  if (!isSeconds(exp)) return "expiry_missing";
  if (nowMs >= exp * 1e3 + rules.clockSkewMs) return "expired";
  for (const from of [nbf, iat]) {
    if (from === undefined) continue;
    if (!isSeconds(from) || nowMs < from * 1e3 - rules.clockSkewMs) return "not_yet_valid";
  }
  const { maxLifetimeMs, requiredClaims = [], rolesClaim = "roles" } = rules;
  if (maxLifetimeMs !== undefined && !(isSeconds(iat) && (exp - iat) * 1e3 <= maxLifetimeMs)) return "lifetime";
  if (requiredClaims.some((name) => (claimAt(claims, name) ?? null) === null)) return "claim_missing";
  const scopes = scopesOf(scope ?? scp);
  if (scopes === undefined) return "scope";
  const roles = wordsOf(claimAt(claims, rolesClaim)) ?? [];
  return { identity: { issuer: rules.issuer, subject: sub, scopes, roles, claims }, expiresAtMs: exp * 1e3 };
}

function isForUs(aud: unknown, { audiences, audienceMatch = "any" }: TokenRules): boolean {
  const given = wordsOf(aud);
  if (given === undefined) return false;
  return audienceMatch === "all"
    ? audiences.every((one) => given.includes(one))
    : given.some((one) => audiences.includes(one));
}

/** Seconds since the epoch, up to the year 9999: `1e400` is Infinity to a JSON parser, and would never pass. */
function isSeconds(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value < 253_402_300_800;
}

/** `scope` is words with spaces between (RFC 8693); `scp` of some issuers is a list. */
function scopesOf(value: unknown): string[] | undefined {
  if (value === undefined) return [];
  const words = wordsOf(value);
  return words?.flatMap((word) => word.split(" ")).filter((word) => word !== "");
}

function utf8(part: string): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(part, "base64url"));
}
