import type { Clock } from "@plinth/kernel";
import {
  createRateLimiter,
  createSharedRateLimiter,
  type RateLimiter,
  type SharedRateLimiter,
  type StoreGate,
} from "@plinth/resilience";
import type { RateLimitConfig } from "../config/schema-limits.ts";
import type { ParsedDocument, RouteConfig } from "../config/schema.ts";
import { policyHeader } from "../server/route.ts";
import { keyOf, type KeyOf, needsCaller } from "./keys.ts";
import type { LimitCounts } from "./limit-counts.ts";
import { RouteLimits } from "./route-limits.ts";

/** A rate limit that one route or several draw from. */
export interface LimitPolicy {
  readonly name: string;
  readonly keyOf: KeyOf;
  /** It counts by who calls, and not by what every request has. */
  readonly needsCaller: boolean;
  /** It counts, and refuses nobody. */
  readonly isShadow: boolean;
  /** The same for policies that count the same. */
  readonly form: string;
  /** Counts here; for a shared limit what goes while the store is lost. */
  readonly limiter: RateLimiter;
  /** Undefined: each gateway counts for itself. */
  readonly shared: SharedRateLimiter | undefined;
  /** Its item of RateLimit-Policy. */
  readonly item: string;
}

export interface LimitSeams {
  readonly clock: Clock;
  readonly counts: LimitCounts;
  /** Undefined: nothing is shared. */
  readonly gate: StoreGate | undefined;
  /** Processes of live gateways, at least 1. */
  readonly gateways: () => number;
  /** Where workers of this gateway count together what is not shared with others; undefined: there is only this process. */
  readonly teamGate: StoreGate | undefined;
  readonly workers: () => number;
}

/** Claims that limits count by. */
export function limitClaimsOf({ rateLimits, routes }: ParsedDocument): string[] {
  const inline = routes.flatMap(({ rateLimit }) =>
    typeof rateLimit === "object" && "by" in rateLimit ? [rateLimit] : [],
  );
  return [...Object.values(rateLimits), ...inline].flatMap(({ by }) =>
    [by].flat().flatMap((part) => (typeof part === "object" && "claim" in part ? [part.claim] : [])),
  );
}

/** The limits of one document. What counts the same as before keeps its counts. */
export class PolicyTable {
  readonly all: LimitPolicy[] = [];
  readonly #seams: LimitSeams;
  readonly #before: ReadonlyMap<string, LimitPolicy>;
  readonly #shared: ReadonlyMap<string, readonly LimitPolicy[]>;

  constructor({ rateLimits }: ParsedDocument, before: readonly LimitPolicy[] | undefined, seams: LimitSeams) {
    this.#seams = seams;
    this.#before = new Map(before?.map((policy) => [policy.name, policy]));
    this.#shared = new Map(Object.entries(rateLimits).map(([name, config]) => [name, this.#policiesOf(name, config)]));
  }

  /** @returns Undefined for a route without a limit. */
  limitsOf({ name, rateLimit, rateLimitCost }: RouteConfig): RouteLimits | undefined {
    if (rateLimit === undefined) return undefined;
    const names = typeof rateLimit === "string" ? [rateLimit] : rateLimit;
    const policies = Array.isArray(names)
      ? names.flatMap((each) => this.#shared.get(each) ?? [])
      : this.#policiesOf(name, names);
    return new RouteLimits(policies, rateLimitCost, this.#seams.counts);
  }

  #policiesOf(name: string, config: RateLimitConfig): LimitPolicy[] {
    const { burst } = config;
    const policies = [this.#policy(name, config)];
    if (burst) policies.push(this.#policy(`${name}-burst`, { ...config, ...burst }));
    return policies;
  }

  #policy(name: string, config: RateLimitConfig): LimitPolicy {
    const { limit, windowMs, maxKeys, by, shared, onStoreFailure, shadow: isShadow } = config;
    const { clock, gateways, teamGate, workers } = this.#seams;
    const everywhere = shared ? this.#seams.gate : undefined;
    const gate = everywhere ?? teamGate;
    const form = JSON.stringify([limit, windowMs, maxKeys, by, shared, onStoreFailure]);
    const before = this.#before.get(name);
    let counters: Pick<LimitPolicy, "limiter" | "shared"> | undefined = before?.form === form ? before : undefined;
    if (!counters) {
      const ours = { name, limit, windowMs, maxKeys, clock };
      const processes = everywhere ? gateways : workers;
      const store = gate && createSharedRateLimiter({ ...ours, gate, onStoreFailure, processes });
      counters = { limiter: store?.local ?? createRateLimiter(ours), shared: store };
    }
    const item = policyHeader(name, { limit, windowMs });
    const { limiter, shared: inStore } = counters;
    const policy = {
      name,
      keyOf: keyOf(by),
      needsCaller: needsCaller(by),
      isShadow,
      form,
      limiter,
      shared: inStore,
      item,
    };
    this.all.push(policy);
    return policy;
  }
}
