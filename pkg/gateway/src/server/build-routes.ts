import type { Clock } from "@plinth/kernel";
import { createRateLimiter } from "@plinth/resilience";
import { matchersOf } from "../config/document.ts";
import type { ParsedDocument, RateLimitConfig } from "../config/schema.ts";
import { createRouteTable, type RouteEntry, type RouteTable } from "../router/route-table.ts";
import type { ServicePool } from "../upstream/service-pool.ts";
import type { Deadlines } from "./deadlines.ts";
import { type LimitPolicy, policyHeader, type Route } from "./route.ts";

export interface BuildOptions {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly createPool: (service: string) => ServicePool;
}

export interface BuiltRoutes {
  readonly table: RouteTable<Route>;
  readonly pools: readonly ServicePool[];
  readonly limits: readonly LimitPolicy[];
}

/** Works out everything about the routes of a document that does not depend on a request. */
export function buildRoutes(document: ParsedDocument, { clock, deadlines, createPool }: BuildOptions): BuiltRoutes {
  const pools = new Map<string, ServicePool>();
  const limits: LimitPolicy[] = [];
  const toPolicy = (name: string, { limit, windowMs, maxKeys, by }: RateLimitConfig): LimitPolicy => {
    const limiter = createRateLimiter({ limit, windowMs, maxKeys, clock });
    const policy = { name, by, limiter, policyHeader: policyHeader(name, limiter) };
    limits.push(policy);
    return policy;
  };
  const shared = new Map(Object.entries(document.rateLimits).map(([name, config]) => [name, toPolicy(name, config)]));

  const entries = document.routes.flatMap((config): RouteEntry<Route>[] => {
    const { name, service, auth, rateLimit, timeoutMs, maxBodyBytes, rewrite } = config;
    const pool = pools.get(service) ?? createPool(service);
    pools.set(service, pool);
    const route: Route = {
      name,
      pool,
      auth,
      limit: typeof rateLimit === "string" ? shared.get(rateLimit) : rateLimit && toPolicy(name, rateLimit),
      deadlines: timeoutMs === 0 ? undefined : deadlines.list(timeoutMs),
      maxBodyBytes,
      rewritePrefix: rewrite?.prefix.replace(/\/$/, ""),
    };
    // The document was checked: there is nothing left to say against a pattern.
    return matchersOf(config, () => undefined).map((matcher) => ({ ...matcher, route }));
  });
  return { table: createRouteTable(entries).table, pools: [...pools.values()], limits };
}
