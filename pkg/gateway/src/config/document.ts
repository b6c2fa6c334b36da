import { type ConfigFault, ConfigError, readConfigFile } from "@plinth/kernel";
import { keySourceProblem } from "@plinth/transport/jwt";
import { GatewayConfigError } from "../errors.ts";
import type { RouteEntry } from "../router/entry.ts";
import { proofFaults } from "../proof/prove-document.ts";
import { createRouteTable } from "../router/route-table.ts";
import { faultAt, type Places, schemaFaults } from "./faults.ts";
import { backendsProblem } from "./schema-backends.ts";
import { checkHeaders } from "./schema-headers.ts";
import { routeLimitProblems, sharedLimitProblems } from "./schema-limits.ts";
import { conflictProblem, matchersOf, trailingSlashSchema } from "./schema-routing.ts";
import { webSocketProblem } from "./schema-websocket.ts";
import { authProblems } from "./schema-auth.ts";
import { type GatewayDocument, gatewayDocument, type ParsedDocument } from "./schema.ts";

/**
 * Reads a gateway's document from a YAML or JSON file.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault and its line.
 */
export function readGatewayDocument(file: string): ParsedDocument {
  try {
    const { data, places } = readConfigFile(file);
    return parseDocument(data, { name: file, places });
  } catch (error) {
    if (error instanceof ConfigError) throw new GatewayConfigError(error.faults, error);
    throw error;
  }
}

/**
 * Checks a document written in code and fills in its defaults.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault.
 */
export function parseGatewayDocument(document: GatewayDocument): ParsedDocument {
  return parseDocument(document, { name: "code", places: new Map() });
}

/**
 * Checks a document of unknown origin and fills in its defaults.
 * @param places - Where its parts stand, for the faults.
 * @throws {@link GatewayConfigError} `ERR_GATEWAY_CONFIG` with every fault.
 */
export function parseDocument(document: unknown, places: Places): ParsedDocument {
  const result = gatewayDocument.safeParse(document);
  const faults = result.success ? [] : schemaFaults(result.error, document, gatewayDocument, places);
  faults.push(...meaningFaults(document, places));
  if (faults.length === 0 && result.success) faults.push(...proofFaults(result.data, places));
  if (faults.length > 0 || !result.success) throw new GatewayConfigError(faults);
  return result.data;
}

/** What a schema cannot say. Looks at the parts that fit the schema, so that one report holds both kinds of fault. */
function meaningFaults(document: unknown, places: Places): ConfigFault[] {
  const faults: ConfigFault[] = [];
  const fault = (path: readonly PropertyKey[], problem: string): void =>
    void faults.push(faultAt(path, problem, places));
  const { jwt, routes } = gatewayDocument.shape;
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
  const byIndex = new Map<number, string>();
  const entries: RouteEntry<number>[] = [];
  for (const [key, given] of partsOf(document, "routes")) {
    const index = Number(key);
    const at = (...path: PropertyKey[]): PropertyKey[] => ["routes", index, ...path];
    const parsed = routes.element.safeParse(given);
    if (!parsed.success) continue;
    const route = parsed.data;
    const twin = names.get(route.name);
    if (twin !== undefined) fault(at("name"), `route ${twin + 1} has the name ${JSON.stringify(route.name)} already`);
    names.set(route.name, index);
    byIndex.set(index, route.name);
    const webSocketFault = webSocketProblem(route.websocket, route.match.methods);
    if (webSocketFault !== undefined) fault(at("websocket"), webSocketFault);
    for (const [path, problem] of route.auth ? authProblems(route.auth) : []) fault(at("auth", ...path), problem);
    if (route.auth && route.anonymous) fault(at("anonymous"), "has `auth` as well; keep the one that is meant");
    if (!route.auth && !route.anonymous) fault(at(), "needs `auth`, or `anonymous: true` for everybody");
    if (route.auth && providers.length === 0) fault(at("auth"), "needs a token, but there is no issuer under `jwt`");
    routeLimitProblems(route, limits, (path, problem) => fault(at(...path), problem));
    const { backends, stickBy, service } = route;
    const backendsFault = backendsProblem(backends, stickBy, { hasToken: route.auth !== undefined, service });
    if (backendsFault !== undefined) fault(at(stickBy === undefined ? "backends" : "stickBy"), backendsFault);
    checkHeaders(route.headers, route.auth !== undefined, (problem, path) => fault(at(...path), problem));
    const matchers = matchersOf(route, (problem, path) => fault(at(...path), problem));
    entries.push(...matchers.map((matcher) => ({ ...matcher, route: index })));
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

function partsOf(document: unknown, key: string): [string, unknown][] {
  const parts = partOf(document, key);
  return typeof parts === "object" && parts !== null ? Object.entries(parts) : [];
}

function partOf(document: unknown, key: string): unknown {
  return typeof document === "object" && document !== null ? Reflect.get(document, key) : undefined;
}
