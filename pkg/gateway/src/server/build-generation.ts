import type { Clock } from "@plinth/kernel";
import type { Revocations } from "@plinth/transport/jwt";
import { createAuthenticator } from "../auth/authenticator.ts";
import { claimNamesOf } from "../auth/claim-names.ts";
import type { IssuerKeepers } from "../auth/issuers.ts";
import { Requirement } from "../auth/requirement.ts";
import { TokenSource } from "../auth/token-source.ts";
import type { AuthConfig } from "../config/schema-auth.ts";
import { matchersOf } from "../config/schema-routing.ts";
import { toWebSocketLimits } from "../config/schema-websocket.ts";
import type { ParsedDocument } from "../config/schema.ts";
import type { Limits } from "../limits/limits.ts";
import { PolicyTable } from "../limits/policy.ts";
import { toHeaderRules } from "../headers/rules.ts";
import type { RouteEntry } from "../router/entry.ts";
import { createRouteTable } from "../router/route-table.ts";
import type { ServicePool } from "../upstream/service-pool.ts";
import { Backends } from "./backends.ts";
import type { Deadlines } from "./deadlines.ts";
import { toEdge } from "./edge.ts";
import { Generation } from "./generation.ts";
import { toRetryPolicy } from "./retry-policy.ts";
import type { Route, RouteAuth } from "./route.ts";

export interface BuildOptions {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly keepers: IssuerKeepers;
  readonly revocations?: Revocations;
  readonly limits: Limits;
  readonly createPool: (service: string, version?: string) => ServicePool;
}

/**
 * Works out everything about a document that does not depend on a request. What the generation before has for the same issuer, service
 * or limit is taken over as it is: with its keys, its connections, its counts.
 *
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` when the settings name an issuer that the document lacks.
 */
export function buildGeneration(
  document: ParsedDocument,
  { clock, deadlines, keepers, revocations, limits, createPool }: BuildOptions,
  before?: Generation,
): Generation {
  const issuers = keepers.issuersOf(document.jwt, before?.issuers);
  const areSameIssuers =
    issuers.length === before?.issuers.length && issuers.every((issuer, at) => issuer === before.issuers[at]);
  const names = claimNamesOf(document);
  const policies = new PolicyTable(document, before?.limits, {
    clock,
    counts: limits.counts,
    gate: limits.gate,
    gateways: limits.gateways,
  });
  const caps = limits.caps.renew(document.routes);

  const pools = new Map<string, ServicePool>();
  const poolOf = (service: string, version?: string): ServicePool => {
    const key = version === undefined ? service : `${service}@${version}`;
    const pool = pools.get(key) ?? before?.pools.get(key) ?? createPool(service, version);
    pools.set(key, pool);
    return pool;
  };
  const entries = document.routes.flatMap((config): RouteEntry<Route>[] => {
    const { name, auth, timeoutMs, maxBodyBytes, rewrite } = config;
    const own = policies.limitsOf(config);
    const { addresses, cors, securityHeaders = document.securityHeaders } = config;
    const edge = toEdge({ addresses, cors, securityHeaders }, config.match.methods);
    const toRoute = (pool: ServicePool): Route => ({
      name,
      pool,
      auth: auth && toRouteAuth(auth),
      limits: own,
      cap: caps.get(name),
      importance: config.importance,
      deadlines: timeoutMs === 0 ? undefined : deadlines.list(timeoutMs),
      maxBodyBytes,
      bodyGapMs: config.bodyGapMs,
      retries: config.retries && toRetryPolicy(config.retries, { budget: pool.retryBudget, deadlines }),
      webSocket: toWebSocketLimits(config.websocket),
      rewritePrefix: rewrite?.prefix?.replace(/\/$/, ""),
      hostHeader: rewrite?.host,
      edge,
      requestRules: toHeaderRules(config.headers?.request),
      replyRules: toHeaderRules(config.headers?.reply),
    });
    const route = withBackends(config, toRoute, poolOf);
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
        : createAuthenticator(issuers, { clock, claimNames: names, jwt: document.jwt, revocations }),
    pools,
    edge: toEdge(document),
    limits: policies.all,
  });
}

/** The route as it is with each of its backends behind it, in one. */
function withBackends(
  { service, backends = [], stickBy }: ParsedDocument["routes"][number],
  toRoute: (pool: ServicePool) => Route,
  poolOf: (service: string, version?: string) => ServicePool,
): Route {
  const all = backends.map(({ service: own = service, version, weight }) => ({
    route: toRoute(poolOf(own, version)),
    weight,
  }));
  const [first] = all;
  return first ? { ...first.route, backends: new Backends({ backends: all, stickBy }) } : toRoute(poolOf(service));
}

function toRouteAuth(auth: AuthConfig): RouteAuth {
  const { tokenFrom, forwardToken } = auth;
  const source = tokenFrom && new TokenSource(tokenFrom, forwardToken);
  return { requirement: new Requirement(auth), source, forwardToken };
}
