import { type Clock, type Counter, type Metrics, sleep } from "@plinth/kernel";
import type { Authenticator, Identity } from "../auth.ts";
import { unauthenticated } from "../auth-gate.ts";
import { TransportError } from "../errors.ts";
import type { Incoming } from "../incoming.ts";
import { type Issuer, type TokenCaller, type TokenRefusal, TokenVerifier } from "./verifier.ts";

export interface JwtAuthenticatorOptions {
  readonly issuers: readonly Issuer[];
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** Verified tokens remembered, 2 or more. Default 10_000. */
  readonly maxCachedTokens?: number;
}

/** How long {@link JwtAuthenticator.start} waits for keys: without them it starts all the same, and answers with 503 until they come. */
const firstKeysMs = 2_000;

/** Tells who calls by the JSON Web Token in the authorization header. Made by `jwtModule`. */
export class JwtAuthenticator implements Authenticator {
  readonly #issuers: readonly Issuer[];
  readonly #clock: Clock;
  readonly #verifier: TokenVerifier<Identity>;
  readonly #refusals: Counter<"reason">;

  constructor({ issuers, clock, metrics, maxCachedTokens }: JwtAuthenticatorOptions) {
    this.#issuers = issuers;
    this.#clock = clock;
    this.#verifier = new TokenVerifier({
      issuers,
      clock,
      toKnown: ({ subject, scopes, claims }) => Object.freeze({ subject, scopes: Object.freeze([...scopes]), claims }),
      ...(maxCachedTokens === undefined ? {} : { maxCachedTokens }),
    });
    this.#refusals = metrics.counter({
      name: "auth_token_refusals_total",
      help: "Tokens that were refused, by the rule that they broke.",
      labels: ["reason"],
    });
  }

  authenticate(request: Incoming): Identity | undefined | Promise<Identity | undefined> {
    const verdict = this.#verifier.verify(request.header("authorization"));
    return verdict instanceof Promise ? verdict.then((settled) => this.#settle(settled)) : this.#settle(verdict);
  }

  #settle(verdict: TokenCaller<Identity> | TokenRefusal): Identity | undefined {
    if ("known" in verdict) return verdict.known;
    const { reason, fault } = verdict;
    if (reason === "token_missing") return undefined;
    this.#refusals.inc({ reason: fault ?? reason });
    if (reason === "keys_unavailable") {
      throw new TransportError(
        "ERR_AUTH_UNAVAILABLE",
        "unavailable",
        "who calls cannot be told now; try again in a moment",
      );
    }
    throw unauthenticated(reason === "token_expired" ? "the token has expired" : "the token is not valid");
  }

  /** Names of the issuers whose keys are not at hand. */
  issuersWithoutKeys(): readonly string[] {
    return this.#issuers.filter(({ keys }) => keys.current === undefined).map(({ name }) => name);
  }

  /** Begins to fetch keys, and waits a moment for the first ones. */
  async start({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    for (const { keys } of this.#issuers) keys.start();
    const giveUp = new AbortController();
    const late = sleep(this.#clock, firstKeysMs, {
      signal: signal ? AbortSignal.any([signal, giveUp.signal]) : giveUp.signal,
    });
    try {
      await Promise.race([Promise.all(this.#issuers.map(({ keys }) => keys.available())), late]);
    } finally {
      giveUp.abort(new Error("no longer waited for"));
      await Promise.allSettled([late]);
    }
  }

  /** Fetches no more, and resolves when no snapshot is being written. Safe to call twice. */
  async close(): Promise<void> {
    for (const { keys } of this.#issuers) keys.close();
    await Promise.all(this.#issuers.map(({ keys }) => keys.saved()));
  }
}
