import type { Clock } from "@plinth/kernel";
import {
  claimAt,
  type Claims,
  type Issuer,
  type TokenCaller,
  type TokenRefusal,
  TokenVerifier,
} from "@plinth/transport/jwt";
import { type Identity, type IdentityHeaders, toIdentityHeaders } from "../headers/outgoing.ts";
import type { Asked } from "./requirement.ts";

/** What is kept of a caller with a valid token. */
export interface KnownCaller extends Asked {
  readonly identity: Identity;
  readonly headers: IdentityHeaders;
  /** Unique among all issuers: what limits by subject count by. */
  readonly limitKey: string;
}

export type Caller = TokenCaller<KnownCaller>;
export type AuthRefusal = TokenRefusal;
export type Authenticator = TokenVerifier<KnownCaller>;

export interface AuthenticatorOptions {
  readonly clock: Clock;
  /** Claims that are kept of each token: of the others nothing is. */
  readonly claimNames: readonly string[];
}

/** Tells who is calling by the bearer token. */
export function createAuthenticator(
  issuers: readonly Issuer[],
  { clock, claimNames }: AuthenticatorOptions,
): Authenticator {
  return new TokenVerifier({
    issuers,
    clock,
    toKnown: ({ issuer, subject, scopes, roles, claims }): KnownCaller => ({
      identity: { issuer, subject, scopes },
      headers: toIdentityHeaders({ issuer, subject, scopes }),
      limitKey: JSON.stringify([issuer, subject]),
      scopes,
      roles,
      claims: pick(claims, claimNames),
    }),
  });
}

function pick(claims: Claims, names: readonly string[]): Claims {
  return Object.fromEntries(names.map((name) => [name, claimAt(claims, name)]));
}
