import type { ConfigFault } from "@plinth/kernel";
import { keySourceProblem } from "@plinth/transport/jwt";
import type { RouteEntry } from "../router/entry.ts";
import { createRouteTable } from "../router/route-table.ts";
import { faultAt, type Places } from "./faults.ts";
import { authProblems } from "./schema-auth.ts";
import { authServiceProblems } from "./schema-auth-services.ts";
import { backendsProblem } from "./schema-backends.ts";
import { hedgingProblem } from "./schema-hedging.ts";
import { checkHeaders } from "./schema-headers.ts";
import { routeLimitProblems, sharedLimitProblems } from "./schema-limits.ts";
import { protocolProblem } from "./schema-protocol.ts";
import { conflictProblem, matchersOf, trailingSlashSchema } from "./schema-routing.ts";
import { serviceProblem } from "./schema-services.ts";
import { transcodingProblems } from "./schema-transcoding.ts";
import { webSocketProblem } from "./schema-websocket.ts";
import { gatewayDocument, type RouteConfig } from "./schema.ts";

/**
 * What a schema cannot say. Looks at the parts that fit the schema, so that one report holds both kinds of fault.
 * @param routes - Those that fit it, by their place.
 */
export function meaningFaults(
  document: unknown,
  routes: readonly (readonly [number, RouteConfig])[],
  places: Places,
): ConfigFault[] {
  const faults: ConfigFault[] = [];
  const fault = (path: readonly PropertyKey[], problem: string): void =>
    void faults.push(faultAt(path, problem, places));
  const { jwt } = gatewayDocument.shape;
  const providers = partsOf(document, "jwt");

  const issuers = new Map<string, string>();
  for (const [name, given] of providers) {
    const parsed = jwt.def.innerType.def.valueType.safeParse(given);
    if (!parsed.success) continue;
    const { issuer, jwks } = parsed.data;
    const twin = issuers.get(issuer);
    if (twin !== undefined) {
      fault(["jwt", name, "issuer"], `provider ${twin} has the same issuer; one of them would never be asked`);
    }
    issuers.set(issuer, name);
    const problem = keySourceProblem(jwks);
    if (problem !== undefined) fault(["jwt", name, "jwks"], problem);
  }
  const limits = partsOf(document, "rateLimits");
  sharedLimitProblems(limits, fault);
  const names = new Map<string, number>();
  const used = new Set<string>();
  const versioned = new Set<string>();
  const byIndex = new Map<number, string>();
  const entries: RouteEntry<number>[] = [];
  const services = partOf(document, "services");
  for (const [index, route] of routes) {
    const at = (...path: PropertyKey[]): PropertyKey[] => ["routes", index, ...path];
    const twin = names.get(route.name);
    if (twin !== undefined) fault(at("name"), `route ${twin + 1} has the name ${JSON.stringify(route.name)} already`);
    names.set(route.name, index);
    byIndex.set(index, route.name);
    used.add(route.service);
    for (const { service = route.service, version } of route.backends ?? []) {
      used.add(service);
      if (version !== undefined) versioned.add(service);
    }
    const hedgingFault = hedgingProblem(route.hedging, route.match.methods);
    if (hedgingFault !== undefined) fault(at("hedging"), hedgingFault);
    const webSocketFault = webSocketProblem(route.websocket, route.match.methods);
    if (webSocketFault !== undefined) fault(at("websocket"), webSocketFault);
    const protocolFault = protocolProblem(route, services);
    if (protocolFault !== undefined) fault(at("websocket"), protocolFault);
    transcodingProblems(route, services, (path, problem) => fault(at(...path), problem));
    for (const [path, problem] of route.auth ? authProblems(route.auth) : []) fault(at("auth", ...path), problem);
    if (route.auth && route.anonymous) fault(at("anonymous"), "has `auth` as well; keep the one that is meant");
    if (!route.auth && !route.anonymous) fault(at(), "needs `auth`, or `anonymous: true` for everybody");
    if (route.auth && route.auth.introspect !== "instead" && providers.length === 0)
      fault(at("auth"), "needs a token, but there is no issuer under `jwt`");
    routeLimitProblems(route, limits, (path, problem) => fault(at(...path), problem));
    const { backends, stickBy, service } = route;
    const backendsFault = backendsProblem(backends, stickBy, { hasToken: route.auth !== undefined, service });
    if (backendsFault !== undefined) fault(at(stickBy === undefined ? "backends" : "stickBy"), backendsFault);
    checkHeaders(route.headers, route.auth !== undefined, (problem, path) => fault(at(...path), problem));
    const matchers = matchersOf(route, (problem, path) => fault(at(...path), problem));
    const patterns = matchers.map(({ pattern }) => pattern);
    for (const [path, problem] of route.auth ? authServiceProblems(route.auth, patterns) : [])
      fault(at("auth", ...path), problem);
    entries.push(...matchers.map((matcher) => ({ ...matcher, route: index })));
  }
  const areRoutesGood = routes.length === partsOf(document, "routes").length;
  for (const [name, given] of partsOf(document, "services")) {
    const problem = serviceProblem(name, given, { used, versioned });
    if (problem !== undefined && areRoutesGood) fault(["services", name], problem);
  }
  const slash = trailingSlashSchema.safeParse(partOf(document, "trailingSlash"));
  const options = slash.success ? { trailingSlash: slash.data } : {};
  for (const conflict of createRouteTable(entries, options).conflicts) {
    const { second } = conflict;
    const problem = conflictProblem(conflict, byIndex.get(conflict.first));
    fault(["routes", second.route, "match", "path"], `${second.pattern.text}: ${problem}`);
  }
  return faults;
}

/** What stands at a key of a document that may be anything, by its own keys. */
export function partsOf(document: unknown, key: string): [string, unknown][] {
  const parts = partOf(document, key);
  return typeof parts === "object" && parts !== null ? Object.entries(parts) : [];
}

export function partOf(document: unknown, key: string): unknown {
  return typeof document === "object" && document !== null ? Reflect.get(document, key) : undefined;
}
