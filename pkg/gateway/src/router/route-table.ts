import { decodeSegment, type Pattern } from "./pattern.ts";

/** Which requests one pattern of a route is for. */
export interface Matcher {
  readonly pattern: Pattern;
  /** Undefined: every method but TRACE and CONNECT. */
  readonly methods: readonly string[] | undefined;
  /** Lower case, without port. Undefined: any host that has no match of its own. */
  readonly host: string | undefined;
}

export interface RouteEntry<T> extends Matcher {
  readonly route: T;
}

/** A route that was found, with the pattern that matched. */
export interface Found<T> {
  readonly route: T;
  readonly template: string;
  /** Segments before the `/**` of a prefix pattern; -1 for others. */
  readonly prefixSegments: number;
}

/** The path has routes, but none for the method. */
export interface MethodMiss {
  /** What the Allow header says. */
  readonly allow: string;
}

export interface Conflict<T> {
  readonly first: T;
  readonly second: RouteEntry<T>;
}

/** Finds the route for a request. */
export interface RouteTable<T> {
  /**
   * Host before no host; then from left to right a literal segment before a free one before `/**`. HEAD goes to GET.
   * @param host - Lower case, without port.
   * @param path - Canonical.
   */
  find(host: string, method: string, path: string): Found<T> | MethodMiss | undefined;
}

const anyMethod: readonly string[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const neverForwarded: ReadonlySet<string> = new Set(["TRACE", "CONNECT"]);

interface Leaf<T> {
  readonly byMethod: Map<string, Found<T>>;
  any: Found<T> | undefined;
}

interface Node<T> {
  readonly literals: Map<string, Node<T>>;
  free: Node<T> | undefined;
  exact: Leaf<T> | undefined;
  prefix: Leaf<T> | undefined;
}

/**
 * Builds the table: a tree of segments for each host.
 * @returns The table, and the entries that another one leaves no request to tell apart from: same host, pattern and method.
 */
export function createRouteTable<T>(entries: readonly RouteEntry<T>[]): {
  readonly table: RouteTable<T>;
  readonly conflicts: readonly Conflict<T>[];
} {
  const byHost = new Map<string, Node<T>>();
  const anyHost = newNode<T>();
  const conflicts: Conflict<T>[] = [];
  for (const entry of entries) {
    let root = anyHost;
    if (entry.host !== undefined) {
      root = byHost.get(entry.host) ?? newNode<T>();
      byHost.set(entry.host, root);
    }
    const taken = insert(root, entry);
    if (taken !== undefined) conflicts.push({ first: taken, second: entry });
  }
  return { table: new SegmentTree(byHost, anyHost), conflicts };
}

function newNode<T>(): Node<T> {
  return { literals: new Map(), free: undefined, exact: undefined, prefix: undefined };
}

/** Returns the route that is there already, if one is. */
function insert<T>(root: Node<T>, { pattern, methods, route }: RouteEntry<T>): T | undefined {
  let node = root;
  for (const segment of pattern.segments) {
    if (segment === undefined) node = node.free ??= newNode();
    else {
      const next = node.literals.get(segment) ?? newNode();
      node.literals.set(segment, next);
      node = next;
    }
  }
  const leaf: Leaf<T> = (node[pattern.isPrefix ? "prefix" : "exact"] ??= { byMethod: new Map(), any: undefined });
  const found: Found<T> = {
    route,
    template: pattern.text,
    prefixSegments: pattern.isPrefix ? pattern.segments.length : -1,
  };
  if (methods === undefined) {
    if (leaf.any) return leaf.any.route;
    leaf.any = found;
    return undefined;
  }
  for (const method of methods) {
    const taken = leaf.byMethod.get(method);
    if (taken && taken.route !== route) return taken.route;
    leaf.byMethod.set(method, found);
  }
  return undefined;
}

class SegmentTree<T> implements RouteTable<T> {
  readonly #byHost: ReadonlyMap<string, Node<T>>;
  readonly #anyHost: Node<T>;

  constructor(byHost: ReadonlyMap<string, Node<T>>, anyHost: Node<T>) {
    this.#byHost = byHost;
    this.#anyHost = anyHost;
  }

  find(host: string, method: string, path: string): Found<T> | MethodMiss | undefined {
    const missed: Leaf<T>[] = [];
    if (this.#byHost.size > 0) {
      const root = this.#byHost.get(host);
      const found = root && search(root, path, 1, method, missed);
      if (found) return found;
    }
    const found = search(this.#anyHost, path, 1, method, missed);
    if (found) return found;
    return missed.length === 0 ? undefined : { allow: allowOf(missed) };
  }
}

/** @param from - Where the next segment begins; past the end of the path when there is none. */
function search<T>(node: Node<T>, path: string, from: number, method: string, missed: Leaf<T>[]): Found<T> | undefined {
  if (from > path.length) {
    return (node.exact && choose(node.exact, method, missed)) ?? (node.prefix && choose(node.prefix, method, missed));
  }
  const slashAt = path.indexOf("/", from);
  const to = slashAt < 0 ? path.length : slashAt;
  const segment = decodeSegment(path.slice(from, to));
  const literal = node.literals.get(segment);
  const found =
    (literal && search(literal, path, to + 1, method, missed)) ??
    (node.free && segment !== "" ? search(node.free, path, to + 1, method, missed) : undefined);
  return found ?? (node.prefix && choose(node.prefix, method, missed));
}

function choose<T>(leaf: Leaf<T>, method: string, missed: Leaf<T>[]): Found<T> | undefined {
  const found =
    leaf.byMethod.get(method) ??
    (method === "HEAD" ? leaf.byMethod.get("GET") : undefined) ??
    (neverForwarded.has(method) ? undefined : leaf.any);
  if (!found) missed.push(leaf);
  return found;
}

function allowOf<T>(missed: readonly Leaf<T>[]): string {
  const allowed = new Set<string>();
  for (const { byMethod, any } of missed) {
    for (const method of any ? anyMethod : byMethod.keys()) {
      allowed.add(method);
      if (method === "GET") allowed.add("HEAD");
    }
  }
  return [...allowed].join(", ");
}
