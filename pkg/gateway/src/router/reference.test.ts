import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { toConditions, type ValueRule } from "./conditions.ts";
import type { RouteEntry } from "./entry.ts";
import { parsePattern } from "./pattern.ts";
import { createRouteTable } from "./route-table.ts";

/** A route as the reference reads it: nothing of the table's own is used to match. */
interface Written {
  readonly path: string;
  readonly host: string | undefined;
  readonly methods: readonly string[] | undefined;
  readonly priority: number;
  readonly headers: Readonly<Record<string, ValueRule>>;
  readonly query: Readonly<Record<string, ValueRule>>;
}

const segment = fc.constantFrom("a", "b", "7", ":x", ":x<int>");
const anyPath = fc
  .tuple(fc.uniqueArray(segment, { maxLength: 3, selector: (text) => (text.startsWith(":") ? ":" : {}) }), fc.boolean())
  .map(([parts, isPrefix]) => `/${parts.join("/")}${isPrefix ? `${parts.length > 0 ? "/" : ""}**` : ""}`);
/** Often the same one, so that routes meet. */
const path = fc.oneof(fc.constant("/a"), anyPath);
const methods = fc.constantFrom<string[] | undefined>(
  undefined,
  undefined,
  ["GET"],
  ["POST"],
  ["HEAD"],
  ["GET", "PUT"],
);
const rule = fc.constantFrom<ValueRule>(
  "1",
  "12",
  true,
  false,
  { prefix: "1" },
  { suffix: "2" },
  { prefix: "1", suffix: "2" },
);
const rules = (names: readonly string[]) =>
  fc.dictionary(fc.constantFrom(...names), rule, { maxKeys: 2, noNullPrototype: true });
const host = fc.constantFrom(undefined, undefined, "h.x", "x", "*.x", "*.h.x");
const written: fc.Arbitrary<Written> = fc.record({
  path,
  host,
  methods,
  priority: fc.constantFrom(0, 0, 0, 1, -1),
  headers: fc.oneof(fc.constant({}), rules(["x-a", "x-b"])),
  query: fc.oneof(fc.constant({}), rules(["q"])),
});
const value = fc.constantFrom("1", "12", "2", "");
const request = fc.record({
  host: fc.constantFrom("x", "h.x", "g.h.x", "y"),
  method: fc.constantFrom("GET", "POST", "HEAD", "PUT", "PROPFIND", "TRACE"),
  path: fc.oneof(
    fc.constant("/a"),
    fc
      .tuple(fc.array(fc.constantFrom("a", "b", "7", "z", "%37"), { maxLength: 4 }), fc.boolean())
      .map(([parts, hasSlash]) => `/${parts.join("/")}${hasSlash && parts.length > 0 ? "/" : ""}`),
  ),
  headers: fc.dictionary(fc.constantFrom("x-a", "x-b", "x-c"), value, { maxKeys: 3, noNullPrototype: true }),
  query: fc.option(value, { nil: undefined }),
});

describe("the route table", () => {
  it("chooses as a slow matcher does that knows nothing of trees", () => {
    fc.assert(
      fc.property(
        fc.array(written, { maxLength: 12 }),
        fc.array(request, { minLength: 1, maxLength: 12 }),
        (all, asked) => {
          const routes = withoutConflicts(all);
          const { table } = createRouteTable(routes.map(toEntry));
          for (const { host: ofHost, method, path: ofPath, headers, query } of asked) {
            const facts = { headers: Object.entries(headers).flat(), query: query === undefined ? "" : `?q=${query}` };
            const found = table.find(ofHost, method, ofPath, facts);
            const expected = slowly(routes, { host: ofHost, method, path: ofPath, headers, query });
            const actual = found && ("route" in found ? found.route : found.allow.split(", ").toSorted());
            assert.deepEqual(actual, expected);
          }
        },
      ),
      { seed: 20_261_123, numRuns: 800 },
    );
  });
});

/** Routes that a document could hold: each that is in conflict with one before it is left out. */
function withoutConflicts(all: readonly Written[]): Written[] {
  const kept: Written[] = [];
  for (const route of all) {
    if (createRouteTable([...kept, route].map(toEntry)).conflicts.length === 0) kept.push(route);
  }
  return kept;
}

function toEntry({ path: text, headers, query, ...rest }: Written, route: number): RouteEntry<number> {
  const pattern = parsePattern(text);
  assert.ok(typeof pattern === "object", text);
  return { ...rest, pattern, conditions: toConditions(headers, query), route };
}

interface Asked {
  readonly host: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly query: string | undefined;
}

/** Index of the winner, the methods allowed, or undefined for none. */
function slowly(routes: readonly Written[], asked: Asked): number | string[] | undefined {
  const fit = routes.filter((route) => fitsButMethod(route, asked));
  const takers = fit.filter((route) => methodRank(route, asked.method) > 0);
  const [best] = takers.toSorted((one, other) => compare(one, other, asked));
  if (best) return routes.indexOf(best);
  const allowed = new Set(
    fit.flatMap(({ methods: own }) => own ?? ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
  );
  if (allowed.has("GET")) allowed.add("HEAD");
  return allowed.size === 0 ? undefined : [...allowed].toSorted();
}

function compare(one: Written, other: Written, { host: ofHost, method }: Asked): number {
  return (
    other.priority - one.priority ||
    hostRank(other, ofHost) - hostRank(one, ofHost) ||
    comparePaths(kindsOf(one.path), kindsOf(other.path)) ||
    methodRank(other, method) - methodRank(one, method) ||
    Object.keys(other.headers).length - Object.keys(one.headers).length ||
    Object.keys(other.query).length - Object.keys(one.query).length
  );
}

function hostRank({ host: own }: Written, ofHost: string): number {
  if (own === undefined) return 0;
  return own === ofHost ? 1_000 : own.length;
}

function methodRank({ methods: own }: Written, method: string): number {
  if (own === undefined) return method === "TRACE" ? 0 : 1;
  if (own.includes(method)) return 3;
  return method === "HEAD" && own.includes("GET") ? 2 : 0;
}

/** 0 literal, 1 typed, 2 free, 3 the end, 4 a prefix's end: compared from the left. */
function kindsOf(text: string): number[] {
  return [...text.split("/").slice(1).map(kindOf), ...(text.endsWith("**") ? [] : [3])];
}

function kindOf(part: string): number {
  if (part === "**") return 4;
  if (!part.startsWith(":")) return 0;
  return part.includes("<") ? 1 : 2;
}

function comparePaths(one: readonly number[], other: readonly number[]): number {
  const at = one.findIndex((kind, index) => kind !== other[index]);
  return at < 0 ? 0 : (one[at] ?? 9) - (other[at] ?? 9);
}

function fitsButMethod({ path: text, host: own, headers, query }: Written, asked: Asked): boolean {
  const source = text
    .split("/")
    .slice(1)
    .map((part) => ({ "**": "(?:/.*)?", ":x": "/[^/]+", ":x<int>": "/[0-9]+" })[part] ?? `/${part}`)
    .join("");
  if (!new RegExp(`^${source}$`).test(decodeURIComponent(asked.path))) return false;
  if (own !== undefined && own !== asked.host && !(own.startsWith("*") && asked.host.endsWith(own.slice(1))))
    return false;
  const given: Record<string, string | undefined> = { ...asked.headers, q: asked.query };
  return Object.entries({ ...headers, ...query }).every(([name, want]) => holds(want, given[name]));
}

function holds(want: ValueRule, given: string | undefined): boolean {
  if (want === true) return given !== undefined;
  if (want === false) return given === undefined;
  if (given === undefined) return false;
  if (typeof want === "string") return given === want;
  return new RegExp(`^${want.prefix ?? ""}.*${want.suffix ?? ""}$`).test(given);
}
