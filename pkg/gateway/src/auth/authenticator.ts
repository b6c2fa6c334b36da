import type { Clock } from "@plinth/kernel";
import { type Identity, type IdentityHeaders, toIdentityHeaders } from "../headers/outgoing.ts";
import type { Reason } from "../reasons.ts";
import type { KeyKeeper } from "./key-keeper.ts";
import { type CachedToken, TokenCache, tokenKey } from "./token-cache.ts";
import {
  checkClaims,
  headerFault,
  maxTokenLength,
  takeApart,
  type TokenFault,
  type TokenRules,
  verify,
} from "./verify.ts";

/** An issuer whose tokens are taken. */
export interface Issuer {
  /** Name in the document: in logs and metrics. */
  readonly name: string;
  readonly rules: TokenRules;
  readonly keys: KeyKeeper;
}

/** A caller with a valid token. */
export interface Caller extends CachedToken {
  readonly identity: Identity;
  readonly headers: IdentityHeaders;
  /** Unique among all issuers: what limits by subject count by. */
  readonly limitKey: string;
  readonly issuer: Issuer;
}

export interface AuthRefusal {
  readonly reason: Extract<Reason, "token_missing" | "token_invalid" | "token_expired" | "keys_unavailable">;
  /** Which rule it broke, for the access log. */
  readonly fault: TokenFault | undefined;
}

/** Tells who is calling by the bearer token. */
export class Authenticator {
  readonly #byIssuer: ReadonlyMap<unknown, Issuer>;
  readonly #clock: Clock;
  readonly #cache: TokenCache<Caller>;

  /** @param maxCachedTokens - Verified tokens remembered, 2 or more. */
  constructor(issuers: readonly Issuer[], clock: Clock, maxCachedTokens = 10_000) {
    this.#byIssuer = new Map(issuers.map((issuer) => [issuer.rules.issuer, issuer]));
    this.#clock = clock;
    this.#cache = new TokenCache(maxCachedTokens);
  }

  /**
   * @param authorization - The one Authorization header, if there is one.
   * @returns At once for a token that was verified before.
   */
  authenticate(authorization: string | undefined): Caller | AuthRefusal | Promise<Caller | AuthRefusal> {
    const token = authorization === undefined ? undefined : bearerToken(authorization);
    if (token === undefined) return missing;
    if (token.length > maxTokenLength || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return invalid("malformed");
    const key = tokenKey(token);
    const known = this.#cache.get(key);
    if (known) {
      if (this.#clock.now() >= known.usableUntilMs) {
        this.#cache.delete(key);
        return expired;
      }
      if (known.keyVersion === known.issuer.keys.version && known.issuer.keys.current) return known;
    }
    return this.#verify(token, key);
  }

  async #verify(token: string, key: string): Promise<Caller | AuthRefusal> {
    const parts = takeApart(token);
    if (parts === "malformed") return invalid("malformed");
    const { header, claims } = parts;
    const issuer = this.#byIssuer.get(claims.iss);
    if (!issuer) return invalid("issuer");
    const { rules, keys } = issuer;
    const fault = headerFault(header, rules.algorithms);
    if (fault) return invalid(fault);

    let set = await keys.available();
    if (!set) return unavailable;
    if (header.kid !== undefined && !set.has(header.kid)) {
      set = await keys.refreshForUnknown();
      if (!set) return unavailable;
      if (!set.has(header.kid)) return invalid("key_unknown");
    }
    const keyVersion = keys.version;
    const broken = await verify(token, set, rules);
    if (broken) return invalid(broken);
    const verified = checkClaims(claims, rules, this.#clock.now());
    if (verified === "expired") return expired;
    if (typeof verified === "string") return invalid(verified);

    const { identity, expiresAtMs } = verified;
    const caller: Caller = {
      identity,
      headers: toIdentityHeaders(identity),
      limitKey: JSON.stringify([identity.issuer, identity.subject]),
      issuer,
      usableUntilMs: expiresAtMs + rules.clockSkewMs,
      keyVersion,
    };
    this.#cache.set(key, caller);
    return caller;
  }
}

/** The token of `Bearer …`; undefined for another scheme, which this gateway does not know of. */
function bearerToken(authorization: string): string | undefined {
  return /^bearer +(\S.*)$/i.exec(authorization)?.[1] ?? (/^bearer *$/i.test(authorization) ? "" : undefined);
}

const missing: AuthRefusal = Object.freeze({ reason: "token_missing", fault: undefined });
const expired: AuthRefusal = Object.freeze({ reason: "token_expired", fault: "expired" });
const unavailable: AuthRefusal = Object.freeze({ reason: "keys_unavailable", fault: undefined });

function invalid(fault: TokenFault): AuthRefusal {
  return { reason: "token_invalid", fault };
}
