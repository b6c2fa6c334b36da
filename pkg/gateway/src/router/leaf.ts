import { areDisjoint, type Conditions } from "./conditions.ts";
import type { Found, RouteEntry } from "./entry.ts";

/** A route at the end of a pattern. */
export interface Candidate<T> extends Found<T> {
  readonly priority: number;
  readonly methods: readonly string[] | undefined;
  readonly conditions: Conditions | undefined;
  readonly entry: RouteEntry<T>;
}

/** Two entries that some requests would fit equally well. */
export interface Conflict<T> {
  readonly first: T;
  readonly second: RouteEntry<T>;
  /**
   * `same`: both ask for the same. `overlap`: a request can meet the conditions of both. `crowded`: so many stand at one pattern that
   * trying them in turn would take too long.
   */
  readonly kind: "same" | "overlap" | "crowded";
}

/** So many routes of one host and pattern may differ by their conditions alone: they are tried in turn. */
export const maxRivals = 256;

const neverForwarded: ReadonlySet<string> = new Set(["TRACE", "CONNECT"]);
const nobody: readonly never[] = Object.freeze([]);

/** The routes of one host and pattern. */
export interface Leaf<T> {
  readonly all: readonly Candidate<T>[];
  /** Those for any method. */
  readonly any: readonly Candidate<T>[];
  add(entry: RouteEntry<T>): void;
  /** Call once, when all are there. */
  order(): void;
  /** Who may take a request of the method, the best first. */
  candidates(method: string): readonly Candidate<T>[];
}

export function leafOf<T>(): Leaf<T> {
  return new OrderedLeaf();
}

class OrderedLeaf<T> implements Leaf<T> {
  readonly all: Candidate<T>[] = [];
  any: Candidate<T>[] = [];
  readonly #byMethod = new Map<string, readonly Candidate<T>[]>();

  add(entry: RouteEntry<T>): void {
    const { pattern, priority = 0, methods, conditions, rewrite, binding, route } = entry;
    const prefixSegments = pattern.isPrefix ? pattern.segments.length : -1;
    const template = pattern.text;
    this.all.push({ route, template, prefixSegments, rewrite, binding, priority, methods, conditions, entry });
  }

  order(): void {
    this.any = this.all.filter(({ methods }) => methods === undefined).toSorted(byRank("*"));
    const named = new Set(this.all.flatMap(({ methods }) => methods ?? []));
    if (named.has("GET")) named.add("HEAD");
    for (const method of named) {
      const takers = this.all.filter((candidate) => methodRank(candidate, method) >= 0);
      this.#byMethod.set(method, takers.toSorted(byRank(method)));
    }
  }

  candidates(method: string): readonly Candidate<T>[] {
    return this.#byMethod.get(method) ?? (neverForwarded.has(method) ? nobody : this.any);
  }
}

/** The method itself before GET for HEAD before any; -1: it does not take it. */
function methodRank({ methods }: Candidate<unknown>, method: string): number {
  if (methods === undefined) return neverForwarded.has(method) ? -1 : 0;
  if (methods.includes(method)) return 2;
  return method === "HEAD" && methods.includes("GET") ? 1 : -1;
}

function byRank(method: string): (one: Candidate<unknown>, other: Candidate<unknown>) => number {
  return (one, other) =>
    other.priority - one.priority ||
    methodRank(other, method) - methodRank(one, method) ||
    countOf(other, "headers") - countOf(one, "headers") ||
    countOf(other, "query") - countOf(one, "query");
}

function countOf({ conditions }: Candidate<unknown>, kind: keyof Conditions): number {
  return conditions?.[kind].length ?? 0;
}

/** The entries of a leaf that the order does not tell apart: each once, with the first such. */
export function rivalsIn<T>({ all }: Leaf<T>): Conflict<T>[] {
  const conflicts: Conflict<T>[] = [];
  const [first] = all;
  for (const [index, candidate] of all.entries()) {
    const { entry } = candidate;
    if (index >= maxRivals) {
      if (first) conflicts.push({ first: first.route, second: entry, kind: "crowded" });
      break;
    }
    const rival = all.slice(0, index).find((earlier) => isRival(earlier, candidate));
    if (!rival) continue;
    const kind = rival.conditions || candidate.conditions ? "overlap" : "same";
    conflicts.push({ first: rival.route, second: entry, kind });
  }
  return conflicts;
}

function isRival(one: Candidate<unknown>, other: Candidate<unknown>): boolean {
  if (one.priority !== other.priority) return false;
  const shareMethod =
    one.methods === undefined || other.methods === undefined
      ? one.methods === other.methods
      : one.methods.some((method) => other.methods?.includes(method));
  if (!shareMethod) return false;
  if (countOf(one, "headers") !== countOf(other, "headers")) return false;
  if (countOf(one, "query") !== countOf(other, "query")) return false;
  return !one.conditions || !other.conditions || !areDisjoint(one.conditions, other.conditions);
}
