import type { Clock } from "@plinth/kernel";
import { createRateLimiter } from "@plinth/resilience";
import { createAuthenticator } from "../auth/authenticator.ts";
import type { IssuerKeepers } from "../auth/issuers.ts";
import { claimNames, Requirement } from "../auth/requirement.ts";
import { matchersOf } from "../config/schema-routing.ts";
import { toWebSocketLimits } from "../config/schema-websocket.ts";
import type { ParsedDocument, RateLimitConfig } from "../config/schema.ts";
import type { RouteEntry } from "../router/entry.ts";
import { createRouteTable } from "../router/route-table.ts";
import type { ServicePool } from "../upstream/service-pool.ts";
import type { Deadlines } from "./deadlines.ts";
import { Generation } from "./generation.ts";
import { type LimitPolicy, policyHeader, type Route } from "./route.ts";

export interface BuildOptions {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly keepers: IssuerKeepers;
  readonly createPool: (service: string) => ServicePool;
}

/**
 * Works out everything about a document that does not depend on a request. What the generation before has for the same issuer, service
 * or limit is taken over as it is: with its keys, its connections, its counts.
 *
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` when the settings name an issuer that the document lacks.
 */
export function buildGeneration(
  document: ParsedDocument,
  { clock, deadlines, keepers, createPool }: BuildOptions,
  before?: Generation,
): Generation {
  const issuers = keepers.issuersOf(document.jwt, before?.issuers);
  const areSameIssuers =
    issuers.length === before?.issuers.length && issuers.every((issuer, at) => issuer === before.issuers[at]);
  const known = new Map(before?.limits.map((policy) => [policy.name, policy]));
  const limits: LimitPolicy[] = [];
  const names = claimNamesOf(document);
  const toPolicy = (name: string, { limit, windowMs, maxKeys, by }: RateLimitConfig): LimitPolicy => {
    const form = JSON.stringify([limit, windowMs, maxKeys, by]);
    let policy = known.get(name);
    if (policy?.form !== form) {
      const limiter = createRateLimiter({ limit, windowMs, maxKeys, clock });
      policy = { name, by, form, limiter, policyHeader: policyHeader(name, limiter) };
    }
    limits.push(policy);
    return policy;
  };
  const shared = new Map(Object.entries(document.rateLimits).map(([name, config]) => [name, toPolicy(name, config)]));

  const pools = new Map<string, ServicePool>();
  const entries = document.routes.flatMap((config): RouteEntry<Route>[] => {
    const { name, service, auth, rateLimit, timeoutMs, maxBodyBytes, rewrite } = config;
    const pool = pools.get(service) ?? before?.pools.get(service) ?? createPool(service);
    pools.set(service, pool);
    const route: Route = {
      name,
      pool,
      auth: auth && { requirement: new Requirement(auth), forwardToken: auth.forwardToken },
      limit: typeof rateLimit === "string" ? shared.get(rateLimit) : rateLimit && toPolicy(name, rateLimit),
      deadlines: timeoutMs === 0 ? undefined : deadlines.list(timeoutMs),
      maxBodyBytes,
      webSocket: toWebSocketLimits(config.websocket),
      rewritePrefix: rewrite?.prefix?.replace(/\/$/, ""),
      hostHeader: rewrite?.host,
    };
    // The document was checked: there is nothing left to say against a pattern.
    return matchersOf(config, () => undefined).map((matcher) => ({ ...matcher, route }));
  });
  return new Generation({
    document,
    table: createRouteTable(entries, document).table,
    issuers,
    authenticator:
      before && areSameIssuers && JSON.stringify(names) === JSON.stringify(claimNamesOf(before.document))
        ? before.authenticator
        : createAuthenticator(issuers, { clock, claimNames: names }),
    pools,
    limits,
  });
}

function claimNamesOf({ routes }: ParsedDocument): readonly string[] {
  return claimNames(routes.map(({ auth }) => auth));
}
