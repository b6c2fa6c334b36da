import type { Clock } from "@plinth/kernel";
import {
  claimAt,
  type Claims,
  type Issuer,
  type Revocations,
  type TokenCaller,
  type TokenRefusal,
  TokenVerifier,
} from "@plinth/transport/jwt";
import { type Identity, type IdentityHeaders, toIdentityHeaders } from "../headers/outgoing.ts";
import type { ParsedDocument } from "../config/schema.ts";
import { toClaimHeaders } from "./claim-headers.ts";
import type { Asked } from "./requirement.ts";

/** What is kept of a caller with a valid token. */
export interface KnownCaller extends Asked {
  readonly identity: Identity;
  readonly headers: IdentityHeaders;
  /** Unique among all issuers: what limits by subject count by. */
  readonly limitKey: string;
  /** The header that a claim of the token cannot be put into: the caller cannot be told of to services. */
  readonly unusable: string | undefined;
}

export type Caller = Pick<TokenCaller<KnownCaller>, "known">;
export type AuthRefusal = TokenRefusal;
export type Authenticator = TokenVerifier<KnownCaller>;

export interface AuthenticatorOptions {
  readonly clock: Clock;
  /** Claims that are kept of each token: of the others nothing is. */
  readonly claimNames: readonly string[];
  /** Where it says which claims become headers. */
  readonly jwt: ParsedDocument["jwt"];
  readonly revocations: Revocations | undefined;
}

/** Tells who is calling by the bearer token. */
export function createAuthenticator(
  issuers: readonly Issuer[],
  { clock, claimNames, jwt, revocations }: AuthenticatorOptions,
): Authenticator {
  const headers = new Map(Object.values(jwt).map((provider) => [provider.issuer, provider.headers]));
  return new TokenVerifier({
    issuers,
    clock,
    revocations,
    toKnown: ({ issuer, subject, scopes, roles, claims }): KnownCaller => {
      const { flat, unusable } = toClaimHeaders(claims, headers.get(issuer) ?? {});
      return {
        identity: { issuer, subject, scopes },
        headers: toIdentityHeaders({ issuer, subject, scopes }, flat),
        unusable,
        limitKey: JSON.stringify([issuer, subject]),
        scopes,
        roles,
        claims: pick(claims, claimNames),
      };
    },
  });
}

function pick(claims: Claims, names: readonly string[]): Claims {
  return Object.fromEntries(names.map((name) => [name, claimAt(claims, name)]));
}
