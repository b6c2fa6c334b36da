import { inspectToken, type TokenFault, toRevocable } from "@plinth/transport/jwt";
import { toClaimHeaders } from "../auth/claim-headers.ts";
import type { TokenSource } from "../auth/token-source.ts";
import { Requirement } from "../auth/requirement.ts";
import type { ParsedDocument, RouteConfig } from "../config/schema.ts";
import { type IdentityHeaders, toIdentityHeaders } from "../headers/outgoing.ts";
import type { Reason } from "../reasons.ts";
import type { ExplainedRequest } from "./explain.ts";

/** What a route asks of its callers, and what the request's token would meet. */
export interface AuthExplanation {
  /** As the document says it; undefined: anybody may. */
  readonly needs: RouteConfig["auth"];
  /** What is said of the token that came; undefined where none is needed. */
  readonly token?: TokenExplanation;
}

export interface TokenExplanation {
  /** Never: no key is asked for. A token of this content is taken only where its signature holds. */
  readonly signatureChecked: false;
  /** Provider of the document that it names as its issuer. */
  readonly provider?: string | undefined;
  readonly subject?: string;
  readonly scopes?: readonly string[];
  readonly roles?: readonly string[];
  /** RFC 3339. */
  readonly expiresAt?: string;
  /** Whether the gateway that tells has it revoked; undefined where that is not known, as without a running gateway. */
  readonly revoked?: boolean | undefined;
  /** Which rule of its issuer it breaks. */
  readonly fault?: TokenFault | undefined;
  /** Why the route refuses it; undefined when all that can be told without a key is met. */
  readonly refusal?: Reason | undefined;
}

export interface ExplainedCaller {
  readonly explanation: AuthExplanation;
  readonly refusal: Reason | undefined;
  readonly headers: IdentityHeaders | undefined;
  readonly claims: Readonly<Record<string, unknown>> | undefined;
}

/** @param taken - The token from where the route looks for it; `ambiguous` when there are two. */
export function explainCaller(
  { auth }: RouteConfig,
  { jwt }: ParsedDocument,
  taken: ReturnType<TokenSource["take"]>,
  { nowMs, revocations }: Pick<ExplainedRequest, "nowMs" | "revocations">,
): ExplainedCaller {
  const nobody = { headers: undefined, claims: undefined };
  if (!auth) return { ...nobody, explanation: { needs: undefined }, refusal: undefined };
  const refused = (more: Omit<TokenExplanation, "signatureChecked">): ExplainedCaller => ({
    ...nobody,
    explanation: { needs: auth, token: { signatureChecked: false, ...more } },
    refusal: more.refusal,
  });
  if (taken === "ambiguous") return refused({ refusal: "token_ambiguous" });
  const { token } = taken;
  if (token === undefined) return refused({ refusal: "token_missing" });
  if (auth.introspect === "instead") return refused({}); // Auth alone could say more
  const read = inspectToken(token, Object.values(jwt), nowMs);
  if ("reason" in read) return refused({ refusal: read.reason, fault: read.fault });
  const { issuer, subject, scopes, roles, claims } = read.identity;
  const revoked = revocations?.revokes(toRevocable(read.identity));
  const [provider] = Object.entries(jwt).find(([, config]) => config === read.rules) ?? [];
  const { flat, unusable } = toClaimHeaders(claims, read.rules.headers);
  const own =
    unusable === undefined ? new Requirement(auth).refusalOf({ scopes, roles, claims }) : ("claim_unusable" as const);
  const expiresAt = new Date(read.expiresAtMs).toISOString();
  const refusal = revoked === true ? "token_invalid" : own;
  const fault = revoked === true ? "revoked" : undefined;
  const { explanation } = refused({ provider, subject, scopes, roles, expiresAt, revoked, fault, refusal });
  return { explanation, refusal, headers: toIdentityHeaders({ issuer, subject, scopes }, flat), claims };
}
