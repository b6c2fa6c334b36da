import type { Clock } from "@plinth/kernel";
import type { Revocations } from "@plinth/transport/jwt";
import { createAuthenticator } from "../auth/authenticator.ts";
import type { AskedServices } from "../auth/asked-services.ts";
import { claimNamesOf } from "../auth/claim-names.ts";
import type { IssuerKeepers } from "../auth/issuers.ts";
import { type AuthServices, RemoteAuth } from "../auth/remote-auth.ts";
import { Requirement } from "../auth/requirement.ts";
import { TokenSource } from "../auth/token-source.ts";
import type { AuthConfig } from "../config/schema-auth.ts";
import { toCompressionRules } from "../config/schema-compression.ts";
import { matchersOf } from "../config/schema-routing.ts";
import { toWebSocketLimits } from "../config/schema-websocket.ts";
import type { ServiceConfig } from "../config/schema-services.ts";
import type { ParsedDocument, RouteConfig } from "../config/schema.ts";
import type { Limits } from "../limits/limits.ts";
import { GatewayConfigError } from "../errors.ts";
import { PolicyTable } from "../limits/policy.ts";
import { toHeaderRules } from "../headers/rules.ts";
import type { RouteEntry } from "../router/entry.ts";
import type { Pattern } from "../router/pattern.ts";
import { createRouteTable } from "../router/route-table.ts";
import type { ServicePool } from "../upstream/service-pool.ts";
import { AccessLogRules } from "./access-log.ts";
import { OpenPlugins, type PluginSeams } from "../plugins/open-plugins.ts";
import { contractsOf } from "../transcoding/contracts.ts";
import { Backends } from "./backends.ts";
import type { Deadlines } from "./deadlines.ts";
import { toEdge } from "./edge.ts";
import { type Generation, GenerationUse } from "./generation.ts";
import { toHedgingPolicy } from "./hedges.ts";
import { toRetryPolicy } from "./retry-policy.ts";
import type { Route, RouteAuth } from "./route.ts";

export interface BuildOptions {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly keepers: IssuerKeepers;
  readonly revocations?: Revocations;
  readonly limits: Limits;
  readonly asked: AskedServices;
  /** Undefined: there is none. */
  readonly plugins?: PluginSeams | undefined;
  readonly createPool: (
    service: string,
    version: string | undefined,
    config: ServiceConfig | undefined,
    before: ServicePool | undefined,
  ) => ServicePool;
}

/**
 * Works out everything about a document that does not depend on a request. What the generation before has for the same issuer, service
 * or limit is taken over as it is: with its keys, its connections, its counts.
 *
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` when the settings name an issuer that the document lacks;
 * {@link TransportError} `ERR_TLS_FILE`, `ERR_TLS_CERTIFICATE` for files of a service's `tls` that cannot be used.
 */
export function buildGeneration(document: ParsedDocument, options: BuildOptions): Generation {
  const steps = buildInSteps(document, options);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** So many routes are built in one step, which takes about a millisecond. */
const routesInStep = 250;

/** The same in steps, for a loop that has other things to do between them. What is thrown into one ends it all, and what it has made is closed. */
export function* buildInSteps(
  document: ParsedDocument,
  { clock, deadlines, keepers, revocations, limits, asked, plugins: seams, createPool }: BuildOptions,
  before?: Generation,
): Generator<undefined, Generation, void> {
  const issuers = keepers.issuersOf(document.jwt, before?.issuers);
  const areSameIssuers =
    issuers.length === before?.issuers.length && issuers.every((issuer, at) => issuer === before.issuers[at]);
  const names = claimNamesOf(document);
  const policies = new PolicyTable(document, before?.limits, {
    clock,
    counts: limits.counts,
    gate: limits.gate,
    gateways: limits.gateways,
    teamGate: limits.teamGate,
    workers: limits.workers,
  });
  const services = asked.of(document);
  const plugins = seams && new OpenPlugins(document, seams, before?.plugins);
  const caps = limits.caps.plan(document.routes);
  const pools = new Map<string, ServicePool>();
  const poolOf = (service: string, version?: string): ServicePool => {
    const key = version === undefined ? service : `${service}@${version}`;
    const config = document.services[service];
    // A pool goes by the settings of its service: where these have changed, it begins anew.
    const known =
      pools.get(key) ?? (isSame(config, before?.document.services[service]) ? before?.pools.get(key) : undefined);
    const pool = known ?? createPool(service, version, config, before?.pools.get(key));
    pools.set(key, pool);
    return pool;
  };
  const toEntries = (config: RouteConfig): RouteEntry<Route>[] => {
    const { name, auth, timeoutMs, maxBodyBytes, rewrite } = config;
    const own = policies.limitsOf(config);
    const chains = plugins?.chainsOf(config);
    const compression = toCompressionRules(config.compress ?? document.compress);
    const { addresses, cors, securityHeaders = document.securityHeaders } = config;
    const edge = toEdge({ addresses, cors, securityHeaders }, config.match.methods);
    const matchers = matchersOf(config, refuseRoute(name));
    const patterns = matchers.map(({ pattern }) => pattern);
    const toRoute = (pool: ServicePool): Route => ({
      name,
      pool,
      auth: auth && toRouteAuth(auth, patterns, services),
      limits: own,
      limitsFirst: auth?.introspect === "instead" && own?.needCaller === false,
      cap: caps.caps.get(name),
      importance: config.importance,
      deadlines: timeoutMs === 0 ? undefined : deadlines.list(timeoutMs),
      maxBodyBytes,
      bodyGapMs: config.bodyGapMs,
      retries: config.retries && toRetryPolicy(config.retries, { budget: pool.retryBudget, deadlines }),
      hedging: config.hedging && toHedgingPolicy(config.hedging, { budget: pool.retryBudget, clock }),
      webSocket: toWebSocketLimits(config.websocket),
      rewritePrefix: rewrite?.prefix?.replace(/\/$/, ""),
      hostHeader: rewrite?.host,
      edge,
      plugins: chains,
      compression,
      requestRules: toHeaderRules(config.headers?.request),
      replyRules: toHeaderRules(config.headers?.reply),
    });
    const route = withBackends(config, toRoute, poolOf);
    return matchers.map((matcher) => ({ ...matcher, route }));
  };
  const entries: RouteEntry<Route>[] = [];
  try {
    for (let from = 0; from < document.routes.length; from += routesInStep) {
      if (from > 0) yield;
      entries.push(...document.routes.slice(from, from + routesInStep).flatMap(toEntries));
    }
    plugins?.settle();
  } catch (error) {
    caps.discard();
    plugins?.close([before?.plugins]);
    for (const [key, pool] of pools) if (before?.pools.get(key) !== pool) pool.destroy();
    throw error;
  }
  return {
    use: new GenerationUse(),
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
    caps,
    plugins,
    contracts: contractsOf(document.routes),
    accessLog: document.accessLog && new AccessLogRules(document.accessLog),
  };
}

/** The document was checked: there is nothing left to say, but against a file that has changed since. */
function refuseRoute(name: string): (problem: string, path: readonly PropertyKey[]) => void {
  return (problem, path) => {
    throw new GatewayConfigError([{ key: `routes.${name}.${path.join(".")}`, problem, source: "the document" }]);
  };
}

function isSame(one: ServiceConfig | undefined, other: ServiceConfig | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
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

function toRouteAuth(auth: AuthConfig, patterns: readonly Pattern[], services: AuthServices): RouteAuth {
  const { tokenFrom, forwardToken, introspect, authorize } = auth;
  const remote = introspect || authorize ? new RemoteAuth(auth, patterns, services) : undefined;
  const source = tokenFrom && new TokenSource(tokenFrom, forwardToken);
  return { requirement: new Requirement(auth), source, forwardToken, remote };
}
