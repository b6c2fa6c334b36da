import type { Clock } from "@plinth/kernel";
import { type Issuer, type TokenCaller, type TokenRefusal, TokenVerifier } from "@plinth/transport/jwt";
import { type Identity, type IdentityHeaders, toIdentityHeaders } from "../headers/outgoing.ts";

/** What is kept of a caller with a valid token. */
export interface KnownCaller {
  readonly identity: Identity;
  readonly headers: IdentityHeaders;
  /** Unique among all issuers: what limits by subject count by. */
  readonly limitKey: string;
}

export type Caller = TokenCaller<KnownCaller>;
export type AuthRefusal = TokenRefusal;
export type Authenticator = TokenVerifier<KnownCaller>;

/** Tells who is calling by the bearer token. */
export function createAuthenticator(issuers: readonly Issuer[], clock: Clock): Authenticator {
  return new TokenVerifier({
    issuers,
    clock,
    toKnown: ({ issuer, subject, scopes }) => ({
      identity: { issuer, subject, scopes },
      headers: toIdentityHeaders({ issuer, subject, scopes }),
      limitKey: JSON.stringify([issuer, subject]),
    }),
  });
}
