import { isMet, type RequestFacts } from "./conditions.ts";
import type { Found, RouteEntry } from "./entry.ts";
import { type Conflict, type Leaf, leafOf, rivalsIn } from "./leaf.ts";
import { decodeSegment, isOfType, type SegmentType } from "./pattern.ts";

export type { Found, RouteEntry } from "./entry.ts";

/** The path has routes, but none for the method. */
export interface MethodMiss {
  /** What the Allow header says. */
  readonly allow: string;
}

/** How a path with a slash at its end and one without belong together. */
export type TrailingSlash = "strict" | "ignore" | "redirect";

/** Finds the route for a request. */
export interface RouteTable<T> {
  /**
   * The highest priority; then the host itself before the longest `*.` before no host; then from left to right a literal segment before
   * a typed before a free one, and the end of the path before `/**`; then a method that is named, more headers, more parameters.
   * HEAD goes to GET where no route names it.
   *
   * @param host - Lower case, without port.
   * @param path - Canonical.
   */
  find(host: string, method: string, path: string, facts?: RequestFacts): Found<T> | MethodMiss | undefined;
}

const anyMethod: readonly string[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const noFacts: RequestFacts = { headers: [], query: "" };

/** One segment of the tree. */
interface Node<T> {
  readonly literals: Map<string, Node<T>>;
  readonly typed: { int: Node<T> | undefined; uuid: Node<T> | undefined };
  free: Node<T> | undefined;
  /** A free segment that ends in a colon and a verb; undefined where there is none. */
  verbs: Map<string, Node<T>> | undefined;
  exact: Leaf<T> | undefined;
  prefix: Leaf<T> | undefined;
  /** The same for all below it that ends in a colon and a verb. */
  verbPrefixes: Map<string, Leaf<T>> | undefined;
  /** Of all routes at and below it. */
  maxPriority: number;
}

/** What was found so far, and what it is looked for by. */
type Best<T> = Leaf<T>["any"][number] | undefined;

/**
 * Builds the table: a tree of segments for each host.
 * @returns The table, and the entries that a request could not be told apart by.
 */
export function createRouteTable<T>(
  entries: readonly RouteEntry<T>[],
  { trailingSlash = "strict" }: { readonly trailingSlash?: TrailingSlash } = {},
): { readonly table: RouteTable<T>; readonly conflicts: readonly Conflict<T>[] } {
  const byHost = new Map<string, Node<T>>();
  const below = new Map<string, Node<T>>();
  const anyHost = newNode<T>();
  const leaves = new Set<Leaf<T>>();
  const rootFor = (host: string | undefined): Node<T> => {
    if (host === undefined) return anyHost;
    const [map, key] = host.startsWith("*.") ? [below, host.slice(1)] : [byHost, host];
    const root = map.get(key) ?? newNode<T>();
    map.set(key, root);
    return root;
  };
  for (const entry of entries) {
    const leaf = leafFor(rootFor(entry.host), entry, trailingSlash === "strict");
    leaf.add(entry);
    leaves.add(leaf);
  }
  const conflicts: Conflict<T>[] = [];
  for (const leaf of leaves) {
    conflicts.push(...rivalsIn(leaf));
    leaf.order();
  }
  return { table: new SegmentTree({ byHost, below, anyHost, trailingSlash }), conflicts };
}

function newNode<T>(): Node<T> {
  return {
    literals: new Map(),
    typed: { int: undefined, uuid: undefined },
    free: undefined,
    verbs: undefined,
    exact: undefined,
    prefix: undefined,
    verbPrefixes: undefined,
    maxPriority: Number.NEGATIVE_INFINITY,
  };
}

function leafFor<T>(root: Node<T>, { pattern, priority = 0 }: RouteEntry<T>, isStrict: boolean): Leaf<T> {
  let node = root;
  node.maxPriority = Math.max(node.maxPriority, priority);
  for (const [index, segment] of pattern.segments.entries()) {
    if (!isStrict && index > 0 && segment === "") break; // its trailing slash
    const hasVerb = pattern.verb !== undefined && !pattern.isPrefix && index === pattern.segments.length - 1;
    node = hasVerb
      ? inMap((node.verbs ??= new Map<string, Node<T>>()), pattern.verb, newNode<T>)
      : childFor(node, segment, pattern.free.find((free) => free.index === index)?.type ?? "any");
    node.maxPriority = Math.max(node.maxPriority, priority);
  }
  if (pattern.isPrefix && pattern.verb !== undefined)
    return inMap((node.verbPrefixes ??= new Map<string, Leaf<T>>()), pattern.verb, leafOf<T>);
  return (node[pattern.isPrefix ? "prefix" : "exact"] ??= leafOf());
}

function childFor<T>(node: Node<T>, segment: string | undefined, type: SegmentType): Node<T> {
  if (segment === undefined) {
    if (type === "any") return (node.free ??= newNode());
    return (node.typed[type] ??= newNode());
  }
  return inMap(node.literals, segment, newNode<T>);
}

function inMap<V>(map: Map<string, V>, key: string, make: () => V): V {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}

/** What stands behind the last colon of a segment that has something before it. */
function verbOf(segment: string): string | undefined {
  const colon = segment.lastIndexOf(":");
  return colon > 0 ? segment.slice(colon + 1) : undefined;
}

interface TreeParts<T> {
  readonly byHost: ReadonlyMap<string, Node<T>>;
  /** Under `.example.org` what is for `*.example.org`. */
  readonly below: ReadonlyMap<string, Node<T>>;
  readonly anyHost: Node<T>;
  readonly trailingSlash: TrailingSlash;
}

class SegmentTree<T> implements RouteTable<T> {
  readonly #parts: TreeParts<T>;

  constructor(parts: TreeParts<T>) {
    this.#parts = parts;
  }

  find(host: string, method: string, path: string, facts: RequestFacts = noFacts): Found<T> | MethodMiss | undefined {
    const { byHost, below, anyHost, trailingSlash } = this.#parts;
    const hasSlash = trailingSlash !== "strict" && path.length > 1 && path.endsWith("/");
    const search: Search<T> = new Search(hasSlash ? path.slice(0, -1) : path, method, facts);
    if (byHost.size > 0) {
      const root = byHost.get(host);
      if (root) search.visit(root, 1);
    }
    if (below.size > 0) {
      for (let dot = host.indexOf(".", 1); dot > 0; dot = host.indexOf(".", dot + 1)) {
        const root = below.get(host.slice(dot));
        if (root) search.visit(root, 1);
      }
    }
    search.visit(anyHost, 1);
    const { best } = search;
    if (best === undefined) return search.miss();
    if (trailingSlash !== "redirect" || best.prefixSegments >= 0 || path === "/") return best;
    if (best.template.endsWith("/") === hasSlash) return best;
    return { ...best, redirect: hasSlash ? path.slice(0, -1) : `${path}/` };
  }
}

/** One look-up. Nodes are visited from the most to the least exact, so that only a higher priority takes the place of what was found. */
class Search<T> {
  best: Best<T>;
  readonly #path: string;
  readonly #method: string;
  readonly #facts: RequestFacts;
  /** Leaves for the path that had nothing for the method. */
  #missed: Leaf<T>[] | undefined;

  constructor(path: string, method: string, facts: RequestFacts) {
    this.#path = path;
    this.#method = method;
    this.#facts = facts;
  }

  /** @param from - Where the next segment begins; past the end of the path when there is none. */
  visit(node: Node<T>, from: number): void {
    if (this.best !== undefined && node.maxPriority <= this.best.priority) return;
    const path = this.#path;
    if (from > path.length) {
      if (node.exact) this.#choose(node.exact);
      if (node.prefix) this.#choose(node.prefix);
      return;
    }
    const slashAt = path.indexOf("/", from);
    const to = slashAt < 0 ? path.length : slashAt;
    const segment = decodeSegment(path.slice(from, to));
    const literal = node.literals.get(segment);
    if (literal) this.visit(literal, to + 1);
    const { int, uuid } = node.typed;
    if (int && isOfType(segment, "int")) this.visit(int, to + 1);
    if (uuid && isOfType(segment, "uuid")) this.visit(uuid, to + 1);
    if (node.verbs && slashAt < 0) {
      const next = node.verbs.get(verbOf(segment) ?? "");
      if (next) this.visit(next, to + 1);
    }
    if (node.free && segment !== "") this.visit(node.free, to + 1);
    if (node.verbPrefixes) {
      const leaf = node.verbPrefixes.get(verbOf(decodeSegment(path.slice(path.lastIndexOf("/") + 1))) ?? "");
      if (leaf) this.#choose(leaf);
    }
    if (node.prefix) this.#choose(node.prefix);
  }

  miss(): MethodMiss | undefined {
    const allowed = new Set<string>();
    for (const { all } of this.#missed ?? []) {
      for (const { methods, conditions } of all) {
        if (conditions && !isMet(conditions, this.#facts)) continue;
        for (const method of methods ?? anyMethod) {
          allowed.add(method);
          if (method === "GET") allowed.add("HEAD");
        }
      }
    }
    return allowed.size === 0 || allowed.has(this.#method) ? undefined : { allow: [...allowed].join(", ") };
  }

  #choose(leaf: Leaf<T>): void {
    for (const candidate of leaf.candidates(this.#method)) {
      if (this.best !== undefined && candidate.priority <= this.best.priority) return;
      if (candidate.conditions && !isMet(candidate.conditions, this.#facts)) continue;
      this.best = candidate;
      return;
    }
    if (this.best === undefined) (this.#missed ??= []).push(leaf);
  }
}
