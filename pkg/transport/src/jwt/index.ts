export { JwtAuthenticator, type JwtAuthenticatorOptions } from "./authenticator.ts";
export { claimAt, type Claims, wordsOf } from "./claims.ts";
export { FetchBudget } from "./fetch-budget.ts";
export { fetchKeySet, maxKeySetBytes } from "./fetch-key-set.ts";
export { inspectToken, type InspectedToken } from "./inspect.ts";
export { type CachedToken, TokenCache, tokenKey } from "./token-cache.ts";
export { createIssuers, type IssuersOptions } from "./issuers.ts";
export { KeyKeeper, type KeyKeeperOptions, type UnknownKeyOutcome } from "./key-keeper.ts";
export { KeySnapshot, type KeySnapshotOptions } from "./key-snapshot.ts";
export { type KeySet, parseKeySet } from "./key-set.ts";
export { jwtModule, type JwtSettings, jwtSettings } from "./module.ts";
export {
  type ClaimPath,
  claimPath,
  keySetUrlProblem,
  keySourceProblem,
  type TokenProvider,
  tokenProvider,
} from "./provider.ts";
export {
  bearerToken,
  type Issuer,
  type TokenCaller,
  type TokenRefusal,
  TokenVerifier,
  type TokenVerifierOptions,
} from "./verifier.ts";
export type { TokenFault, TokenIdentity, TokenRules } from "./verify.ts";
export {
  parseRevocation,
  type RevocableToken,
  type Revocation,
  type RevocationChange,
  Revocations,
  type RevocationsOptions,
  revocationText,
  toRevocable,
} from "./revocations.ts";
