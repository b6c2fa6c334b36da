import type { Reason } from "../reasons.ts";

/**
 * What WWW-Authenticate says with a refusal; undefined for reasons that are none of a token's.
 * @see https://www.rfc-editor.org/rfc/rfc6750#section-3
 */
export function challengeFor(reason: Reason, scopes: readonly string[]): string | undefined {
  switch (reason) {
    case "token_missing":
      return 'Bearer realm="plinth"';
    case "token_invalid":
      return 'Bearer realm="plinth", error="invalid_token"';
    case "token_expired":
      return 'Bearer realm="plinth", error="invalid_token", error_description="the token has expired"';
    case "scope_missing":
      return `Bearer realm="plinth", error="insufficient_scope", scope="${scopes.join(" ")}"`;
    case "role_missing":
    case "claim_refused":
    case "permission_denied":
      return 'Bearer realm="plinth", error="insufficient_scope"';
    default:
      return undefined;
  }
}
