import type { RequestFacts } from "../router/conditions.ts";
import type { Matcher } from "../router/entry.ts";
import type { PathTemplate } from "../router/rewrite.ts";
import { type Finding, type ProofRoute, routeIn, sharedService, type Stages } from "./stages.ts";
import { anyHost, factsFor, hostOf, pathOf, straightRequests, toPath } from "./straight.ts";

/** A way to a service that needs no token. */
interface Way {
  readonly host: string;
  /** Host that the service gets; undefined: the client's. */
  readonly hostAfter: string | undefined;
  /** Of the route's conditions; undefined: it has none, and goes by whatever the request has. */
  readonly facts: RequestFacts | undefined;
  /** The client's path for one of the service; undefined where no path leads there. */
  readonly pathTo: (resource: string) => string | undefined;
}

/** Ways that differ; those by a prefix under what stands in its place. */
interface Ways {
  readonly known: Set<string>;
  readonly byPrefix: Map<string, Way[]>;
  readonly others: Way[];
}

/** What is guarded: a path at a service, as it gets it. */
interface Resource {
  readonly path: string;
  /** Undefined: any. */
  readonly host: string | undefined;
}

const usualMethods = ["GET", "POST"];

/**
 * Requests that get to what a route with `auth` guards by a route for everybody: by another host, by headers or parameters, or by a
 * rewrite that leads there. Guarded is what the service is asked for by a request of somebody who means no harm.
 *
 * Where the service gets two hosts that the document names, they are held to be for two things: it can tell them apart.
 */
export function anonymousWaysTo(routes: readonly ProofRoute[], stages: Stages): Finding[] {
  const byService = openWays(routes);
  return routes.flatMap((route) => {
    if (route.isAnonymous) return [];
    const ways = route.services.flatMap((service) => byService.get(service) ?? []);
    return ways.flatMap((each) => findingsOf(route, each, stages));
  });
}

function findingsOf(route: ProofRoute, ways: Ways, { find, forward }: Stages): Finding[] {
  const findings = new Map<ProofRoute, Finding>();
  for (const { host: ownHost, method: ownMethod, path: ownPath, facts: ownFacts } of straightRequests(route)) {
    const own = find(ownHost, ownMethod, ownPath, ownFacts);
    const resource = routeIn(own)?.route === route ? forward(own, ownPath) : undefined;
    if (resource === undefined) continue;
    const methods = methodsOf(route).filter((one) => routeIn(find(ownHost, one, ownPath, ownFacts))?.route === route);
    const hostAfter = route.hostHeader ?? (ownHost === anyHost ? undefined : ownHost);
    for (const { host, path, facts } of candidates({ path: resource, host: hostAfter }, ways)) {
      for (const method of methods) {
        const found = routeIn(find(host, method, path, facts ?? ownFacts));
        const other = found?.route;
        const service = other && sharedService(route, other);
        if (other === undefined || !other.isAnonymous || service === undefined) continue;
        if (findings.has(other) || forward(found, path) !== resource) continue;
        const where = host === ownHost ? "" : ` at host ${host}`;
        const how = facts === undefined ? "" : ", with headers or parameters that anybody can send,";
        findings.set(other, {
          route,
          input: path,
          problem: `${method} ${path}${where}${how} goes by route ${other.name}, which is for everybody, to ${resource} of service ${service}`,
          severity: facts === undefined ? "fault" : "warning",
        });
      }
    }
  }
  return [...findings.values()];
}

function openWays(routes: readonly ProofRoute[]): Map<string, Ways> {
  const byService = new Map<string, Ways>();
  const open = routes.filter(({ isAnonymous }) => isAnonymous);
  const each = open.flatMap((route) => route.services.map((service) => ({ ...route, service })));
  for (const { service, rewritePrefix, hostHeader, matchers } of each) {
    const ways: Ways = byService.get(service) ?? { known: new Set(), byPrefix: new Map(), others: [] };
    byService.set(service, ways);
    for (const matcher of matchers) {
      const { conditions } = matcher;
      const own = { host: hostOf(matcher), hostAfter: hostHeader, facts: conditions && factsFor(conditions) };
      const isPlain = rewritePrefix === undefined && matcher.rewrite === undefined;
      const form = JSON.stringify([own, isPlain || [rewritePrefix, matcher.rewrite, matcher.pattern.text]]);
      if (ways.known.has(form)) continue;
      ways.known.add(form);
      if (isPlain) ways.others.push({ ...own, pathTo: (resource) => resource });
      else if (matcher.rewrite) ways.others.push({ ...own, pathTo: inverseOf(matcher.rewrite, matcher) });
      else {
        const after = rewritePrefix ?? "";
        const before = pathOf(matcher.pattern).replace(/\/$/, "");
        const list = ways.byPrefix.get(after) ?? [];
        ways.byPrefix.set(after, list);
        list.push({ ...own, pathTo: (resource) => `${before}${resource.slice(after.length)}` || "/" });
      }
    }
  }
  return byService;
}

/** What a template must have been given for a path. */
function inverseOf(template: PathTemplate, { pattern }: Matcher): Way["pathTo"] {
  return (resource) => {
    const values = valuesFor(template, resource.split("/").slice(1));
    if (values === undefined) return undefined;
    const path = toPath(pattern, ({ index, type }) => values.free.get(index) ?? (type === "int" ? "7" : "sample"));
    return values.rest.length === 0 ? path : `${path === "/" ? "" : path}/${values.rest.join("/")}`;
  };
}

function valuesFor(
  { parts, restFrom }: PathTemplate,
  segments: readonly string[],
): { readonly free: ReadonlyMap<number, string>; readonly rest: readonly string[] } | undefined {
  if (segments.length < parts.length || (restFrom < 0 && segments.length > parts.length)) return undefined;
  const free = new Map<number, string>();
  for (const [at, part] of parts.entries()) {
    const segment = segments[at] ?? "";
    if (typeof part === "number") free.set(part, segment);
    else if (part !== segment) return undefined;
  }
  return { free, rest: segments.slice(parts.length) };
}

/** What routes for everybody might be asked for to get at the resource. */
function* candidates(
  resource: Resource,
  { byPrefix, others }: Ways,
): Generator<{ readonly host: string; readonly path: string; readonly facts: RequestFacts | undefined }> {
  const ends = byPrefix.size === 0 ? [] : [...resource.path.matchAll(/\/|$/g)].map(({ index }) => index);
  const lists = ends.flatMap((end) => byPrefix.get(resource.path.slice(0, end)) ?? []);
  for (const { host, hostAfter, facts, pathTo } of [...others, ...lists]) {
    const after = hostAfter ?? (host === anyHost ? undefined : host);
    if (after !== undefined && resource.host !== undefined && after !== resource.host) continue;
    const path = pathTo(resource.path);
    const own = host === anyHost && hostAfter === undefined ? (resource.host ?? host) : host;
    if (path !== undefined) yield { host: own, path, facts };
  }
}

function methodsOf({ matchers }: ProofRoute): string[] {
  return [...new Set(matchers.flatMap(({ methods }) => methods ?? usualMethods))];
}
