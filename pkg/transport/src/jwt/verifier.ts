import type { Clock } from "@plinth/kernel";
import type { KeyKeeper } from "./key-keeper.ts";
import { type RevocableToken, type Revocations, toRevocable } from "./revocations.ts";
import { type CachedToken, TokenCache, tokenKey } from "./token-cache.ts";
import {
  checkClaims,
  headerFault,
  maxTokenLength,
  takeApart,
  type TokenFault,
  type TokenIdentity,
  type TokenRules,
  verify,
} from "./verify.ts";

/** An issuer whose tokens are taken. */
export interface Issuer {
  /** Name in the config: in logs and metrics. */
  readonly name: string;
  readonly rules: TokenRules;
  readonly keys: KeyKeeper;
}

/** A caller with a valid token. */
export interface TokenCaller<Known> extends CachedToken {
  /** What is made of the identity, once for each token. */
  readonly known: Known;
  readonly issuer: Issuer;
}

interface Remembered<Known> extends TokenCaller<Known> {
  readonly revocable: RevocableToken;
  /** Version of the revocations by which it was found to be none; undefined while it is not. */
  spared: number | undefined;
}

export interface TokenRefusal {
  readonly reason: "token_missing" | "token_invalid" | "token_expired" | "keys_unavailable";
  /** Which rule it broke, for operators. */
  readonly fault: TokenFault | undefined;
}

export interface TokenVerifierOptions<Known> {
  readonly issuers: readonly Issuer[];
  readonly clock: Clock;
  /** What is kept of a verified identity, and given to whoever asks. */
  readonly toKnown: (identity: TokenIdentity) => Known;
  /** Verified tokens remembered, 2 or more. Default 10_000. */
  readonly maxCachedTokens?: number;
  /** Tokens that are refused though they are valid. Default none. */
  readonly revocations?: Revocations | undefined;
}

/** Tells who is calling by the bearer token. */
export class TokenVerifier<Known> {
  readonly #byIssuer: ReadonlyMap<unknown, Issuer>;
  readonly #clock: Clock;
  readonly #toKnown: (identity: TokenIdentity) => Known;
  readonly #cache: TokenCache<Remembered<Known>>;
  readonly #revocations: Revocations | undefined;

  constructor({ issuers, clock, toKnown, maxCachedTokens = 10_000, revocations }: TokenVerifierOptions<Known>) {
    this.#byIssuer = new Map(issuers.map((issuer) => [issuer.rules.issuer, issuer]));
    this.#clock = clock;
    this.#toKnown = toKnown;
    this.#cache = new TokenCache(maxCachedTokens);
    this.#revocations = revocations;
  }

  /**
   * @param authorization - The one Authorization header, if there is one.
   * @returns At once for a token that was verified before.
   */
  verify(
    authorization: string | undefined,
  ): TokenCaller<Known> | TokenRefusal | Promise<TokenCaller<Known> | TokenRefusal> {
    return this.verifyToken(bearerToken(authorization));
  }

  /**
   * @param token - The one token, wherever it was, if there is one.
   * @returns At once for a token that was verified before.
   */
  verifyToken(
    token: string | undefined,
  ): TokenCaller<Known> | TokenRefusal | Promise<TokenCaller<Known> | TokenRefusal> {
    if (token === undefined) return missing;
    if (token.length > maxTokenLength || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return invalid("malformed");
    const key = tokenKey(token);
    const cached = this.#cache.get(key);
    if (cached) {
      if (this.#clock.now() >= cached.usableUntilMs) {
        this.#cache.delete(key);
        return expired;
      }
      if (cached.keyVersion === cached.issuer.keys.version && cached.issuer.keys.current) return this.#spare(cached);
    }
    return this.#verify(token, key);
  }

  async #verify(token: string, key: string): Promise<TokenCaller<Known> | TokenRefusal> {
    const parts = takeApart(token);
    if (parts === "malformed") return invalid("malformed");
    const { header, claims } = parts;
    const issuer = this.#byIssuer.get(claims.iss);
    if (!issuer) return invalid("issuer");
    const { rules, keys } = issuer;
    const fault = headerFault(header, rules);
    if (fault) return invalid(fault);

    let set = await keys.available();
    if (!set) return unavailable;
    if (header.kid !== undefined && !set.has(header.kid)) {
      set = await keys.refreshForUnknown(header.kid);
      if (!set) return unavailable;
      if (!set.has(header.kid)) return invalid("key_unknown");
    }
    const keyVersion = keys.version;
    const broken = await verify(token, set, rules);
    if (broken) return invalid(broken);
    const verified = checkClaims(claims, rules, this.#clock.now());
    if (verified === "expired") return expired;
    if (typeof verified === "string") return invalid(verified);

    const caller: Remembered<Known> = {
      known: this.#toKnown(verified.identity),
      issuer,
      usableUntilMs: verified.expiresAtMs + rules.clockSkewMs,
      keyVersion,
      revocable: toRevocable(verified.identity),
      spared: undefined,
    };
    this.#cache.set(key, caller);
    return this.#spare(caller);
  }

  /** Looks a token up among the revocations when there may be another one since it was last looked up: a revoked one each time. */
  #spare(caller: Remembered<Known>): TokenCaller<Known> | TokenRefusal {
    const revocations = this.#revocations;
    if (!revocations || caller.spared === revocations.version) return caller;
    if (revocations.revokes(caller.revocable)) return revoked;
    caller.spared = revocations.version;
    return caller;
  }
}

/** The token of `Bearer …`; undefined for another scheme, which nobody here knows of. */
export function bearerToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined) return undefined;
  return /^bearer +(\S.*)$/i.exec(authorization)?.[1] ?? (/^bearer *$/i.test(authorization) ? "" : undefined);
}

const missing: TokenRefusal = Object.freeze({ reason: "token_missing", fault: undefined });
const expired: TokenRefusal = Object.freeze({ reason: "token_expired", fault: "expired" });
const revoked: TokenRefusal = Object.freeze({ reason: "token_invalid", fault: "revoked" });
const unavailable: TokenRefusal = Object.freeze({ reason: "keys_unavailable", fault: undefined });

function invalid(fault: TokenFault): TokenRefusal {
  return { reason: "token_invalid", fault };
}
