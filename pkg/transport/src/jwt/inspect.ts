import type { TokenRefusal } from "./verifier.ts";
import { checkClaims, headerFault, takeApart, type TokenRules, type VerifiedToken } from "./verify.ts";

/** What a token says of itself. Nobody vouches for it. */
export interface InspectedToken<Rules extends TokenRules> extends VerifiedToken {
  readonly rules: Rules;
}

/**
 * What can be said of a token without a key: everything but whether its signature holds. For explanations, never to let anybody in.
 *
 * @param rules - Of each issuer whose tokens are taken.
 * @param nowMs - Milliseconds since the Unix epoch.
 */
export function inspectToken<Rules extends TokenRules>(
  token: string,
  rules: readonly Rules[],
  nowMs: number,
): InspectedToken<Rules> | TokenRefusal {
  const parts = takeApart(token);
  if (parts === "malformed") return { reason: "token_invalid", fault: "malformed" };
  const own = rules.find(({ issuer }) => issuer === parts.claims.iss);
  if (!own) return { reason: "token_invalid", fault: "issuer" };
  const read = headerFault(parts.header, own) ?? checkClaims(parts.claims, own, nowMs);
  if (read === "expired") return { reason: "token_expired", fault: read };
  return typeof read === "string" ? { reason: "token_invalid", fault: read } : { ...read, rules: own };
}
