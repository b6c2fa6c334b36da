import type { ParsedDocument, RouteConfig } from "../config/schema.ts";
import { isMet, type RequestFacts } from "../router/conditions.ts";
import type { RouteEntry } from "../router/entry.ts";
import { createRouteTable } from "../router/route-table.ts";

/** A route that did not get the request, though its path fits. */
export interface LostRoute {
  readonly route: string;
  readonly pattern: string;
  /** What was against it, each in a few words. */
  readonly why: readonly string[];
}

/** What of a request decides which route it goes by. */
export interface RoutedRequest {
  readonly host: string;
  readonly method: string;
  readonly path: string;
  readonly facts: RequestFacts;
}

export type ConfiguredEntry = RouteEntry<RouteConfig>;

/**
 * Why others lost, by asking each of them alone, whole and without one part at a time of what it asks for.
 * @param winner - The entry that won; undefined when none did.
 */
export function lostRoutes(
  entries: readonly ConfiguredEntry[],
  request: RoutedRequest,
  winner: ConfiguredEntry | undefined,
  { trailingSlash }: Pick<ParsedDocument, "trailingSlash">,
): { readonly lost: readonly LostRoute[]; readonly otherPaths: number } {
  const { host, method, path, facts } = request;
  const finds = (entry: ConfiguredEntry): boolean => {
    const found = createRouteTable([entry], { trailingSlash }).table.find(host, method, path, facts);
    return found !== undefined && "route" in found;
  };
  const lost: LostRoute[] = [];
  let otherPaths = 0;
  for (const entry of entries) {
    if (entry === winner) continue;
    const { pattern, conditions, route } = entry;
    const bare = { ...entry, host: undefined, methods: undefined, conditions: undefined };
    if (!finds(bare)) {
      otherPaths++;
      continue;
    }
    const why: string[] = [];
    if (!finds({ ...bare, host: entry.host })) why.push(`it is for host ${entry.host}`);
    if (!finds({ ...bare, methods: entry.methods }))
      why.push(`it takes ${entry.methods?.join(", ") ?? "no such method"}`);
    for (const kind of ["headers", "query"] as const) {
      for (const rule of conditions?.[kind] ?? []) {
        if (isMet({ headers: [], query: [], [kind]: [rule] }, facts)) continue;
        const what = kind === "headers" ? "header" : "parameter";
        why.push(rule[1] === false ? `${what} ${rule[0]} is there` : `${what} ${rule[0]} is not as it asks`);
      }
    }
    if (why.length === 0 && winner) why.push(beatenBy(winner, entry));
    lost.push({ route: route.name, pattern: pattern.text, why });
  }
  return { lost, otherPaths };
}

/** In the order of the route table. */
function beatenBy(winner: ConfiguredEntry, { host, pattern, priority = 0, methods }: ConfiguredEntry): string {
  const higher = winner.priority ?? 0;
  if (higher > priority) return `its priority ${priority} is below ${higher}`;
  if (winner.host !== host) return host === undefined ? "it names no host" : `its host ${host} is less exact`;
  if (winner.pattern.text !== pattern.text) return "its path is less exact";
  if (methods === undefined && winner.methods !== undefined) return "it names no method";
  return "it asks for less of headers and query";
}
