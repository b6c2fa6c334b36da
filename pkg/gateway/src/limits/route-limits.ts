import type { RateVerdict, SharedRateVerdict } from "@plinth/resilience";
import type { Caller } from "../auth/authenticator.ts";
import type { RequestHead } from "../headers/request-head.ts";
import type { Exchange } from "../server/exchange.ts";
import type { LimitCounts } from "./limit-counts.ts";
import type { LimitPolicy } from "./policy.ts";

/** What the limits of a route say to a request. */
export interface LimitOutcome {
  readonly allowed: boolean;
  /** No limit refused, but one that must not be passed over could not be asked. */
  readonly isUnavailable: boolean;
  /** How long until all of them would allow it, in whole milliseconds, as far as is known. */
  readonly retryAfterMs: number;
}

/** One policy's word on one request. */
interface Word {
  readonly policy: LimitPolicy;
  readonly key: string;
  readonly verdict: RateVerdict | SharedRateVerdict;
}

const passed: LimitOutcome = Object.freeze({ allowed: true, isUnavailable: false, retryAfterMs: 0 });

/**
 * The limits of one route. All must allow a request; when one refuses, nothing is taken from any. Shared ones are asked at the same
 * time, each at its own place in the store, and what they took is given back when another refuses: until it is, a moment later, a
 * caller may have less than it should, never more.
 */
export class RouteLimits {
  readonly #policies: readonly LimitPolicy[];
  readonly #here: readonly LimitPolicy[];
  readonly #stored: readonly LimitPolicy[];
  readonly #cost: number;
  readonly #counts: LimitCounts;
  /** Value of RateLimit-Policy; empty where only shadows count. */
  readonly #policyHeader: string;

  constructor(policies: readonly LimitPolicy[], cost: number, counts: LimitCounts) {
    this.#policies = policies;
    this.#here = policies.filter(({ shared }) => !shared);
    this.#stored = policies.filter(({ shared }) => shared);
    this.#cost = cost;
    this.#counts = counts;
    this.#policyHeader = policies.flatMap(({ isShadow, item }) => (isShadow ? [] : [item])).join(", ");
  }

  /** Some count by who calls. */
  get needCaller(): boolean {
    return this.#policies.some((policy) => policy.needsCaller);
  }

  /** Takes what the request costs, and notes on the exchange what its reply shows. */
  check(exchange: Exchange, head: RequestHead, caller: Caller | undefined): LimitOutcome | Promise<LimitOutcome> {
    const [only] = this.#policies;
    if (this.#stored.length > 0) return this.#checkStored(exchange, head, caller);
    if (only && this.#policies.length === 1) {
      const key = only.keyOf(exchange, head, caller);
      return this.#settle(exchange, [{ policy: only, key, verdict: only.limiter.take(key, this.#cost) }]);
    }
    const words = this.#peekHere(exchange, head, caller);
    return this.#settle(exchange, words.some(refuses) ? words : words.map((word) => this.#take(word)));
  }

  async #checkStored(exchange: Exchange, head: RequestHead, caller: Caller | undefined): Promise<LimitOutcome> {
    const cost = this.#cost;
    const peeked = this.#peekHere(exchange, head, caller);
    if (peeked.some(refuses)) return this.#settle(exchange, peeked);
    const asked = await Promise.all(
      this.#stored.map(async (policy) => {
        const key = policy.keyOf(exchange, head, caller);
        const verdict = await policy.shared?.take(key, cost, exchange.span);
        return verdict ? [{ policy, key, verdict }] : [];
      }),
    );
    const stored = asked.flat();
    // Others may have come while the store was asked.
    const isRefused = stored.some(refuses) || this.#peekHere(exchange, head, caller).some(refuses);
    const here = isRefused ? this.#peekHere(exchange, head, caller) : peeked.map((word) => this.#take(word));
    if (isRefused) {
      for (const { policy, key, verdict } of stored) {
        if ("by" in verdict) policy.shared?.giveBack(key, cost, verdict);
      }
    }
    return this.#settle(exchange, [...here, ...stored]);
  }

  #peekHere(exchange: Exchange, head: RequestHead, caller: Caller | undefined): Word[] {
    return this.#here.map((policy) => {
      const key = policy.keyOf(exchange, head, caller);
      return { policy, key, verdict: policy.limiter.peek(key, this.#cost) };
    });
  }

  /** A shadow that refuses takes nothing. */
  #take({ policy, key }: Word): Word {
    return { policy, key, verdict: policy.limiter.take(key, this.#cost) };
  }

  #settle(exchange: Exchange, words: readonly Word[]): LimitOutcome {
    let strictest: Word | undefined;
    let refusing: Word | undefined;
    let unavailable: Word | undefined;
    for (const word of words) {
      const { policy, verdict } = word;
      const by = "by" in verdict ? verdict.by : undefined;
      if (by === "share") this.#counts.count(policy.name, "share");
      if (policy.isShadow) {
        if (!verdict.allowed) this.#noteShadow(exchange, policy.name);
      } else if (by === "nobody") {
        this.#counts.count(policy.name, "unavailable");
        if (!verdict.allowed) unavailable ??= word;
      } else {
        if (!strictest || verdict.remaining < strictest.verdict.remaining) strictest = word;
        if (!verdict.allowed && (!refusing || verdict.retryAfterMs > refusing.verdict.retryAfterMs)) refusing = word;
      }
    }
    this.#show(exchange, refusing ?? strictest);
    if (refusing) {
      this.#counts.count(refusing.policy.name, "refused");
      exchange.limitedBy = refusing.policy.name;
      return { allowed: false, isUnavailable: false, retryAfterMs: refusing.verdict.retryAfterMs };
    }
    if (!unavailable) return passed;
    exchange.limitedBy = unavailable.policy.name;
    return { allowed: false, isUnavailable: true, retryAfterMs: unavailable.verdict.retryAfterMs };
  }

  /** All policies, and of them the state of the strictest. */
  #show(exchange: Exchange, word: Word | undefined): void {
    if (this.#policyHeader === "") return;
    const headers = ["ratelimit-policy", this.#policyHeader];
    if (word) {
      const { remaining, resetMs } = word.verdict;
      headers.push("ratelimit", `"${word.policy.name}";r=${remaining};t=${Math.ceil(resetMs / 1e3)}`);
    }
    exchange.limitHeaders = headers;
  }

  #noteShadow(exchange: Exchange, name: string): void {
    this.#counts.count(name, "shadow");
    exchange.shadowLimitedBy = exchange.shadowLimitedBy === undefined ? name : `${exchange.shadowLimitedBy}, ${name}`;
  }
}

function refuses({ policy, verdict }: Word): boolean {
  return !policy.isShadow && !verdict.allowed;
}
