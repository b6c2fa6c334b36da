import type { Conditions, RequestFacts, ValueRule } from "../router/conditions.ts";
import type { Matcher } from "../router/entry.ts";
import type { Pattern } from "../router/pattern.ts";
import { escapeSegment } from "./spellings.ts";
import type { ProofRoute } from "./stages.ts";

/** A request as somebody makes it who means no harm. */
export interface Straight {
  readonly host: string;
  readonly method: string;
  readonly path: string;
  readonly facts: RequestFacts;
}

/** Stands for any host that no route names. */
export const anyHost = "host.invalid";
/** Stands for what a free segment may hold, and for what may be below a prefix. */
const sample = "sample";
const samples = { any: sample, int: "7", uuid: "00000000-0000-4000-8000-000000000000" } as const;

/** For each pattern of a route: exactly it, and what is below it. */
export function straightRequests({ matchers }: Pick<ProofRoute, "matchers">): Straight[] {
  return matchers.flatMap((matcher) => {
    const { pattern, methods, conditions } = matcher;
    const path = pathOf(pattern);
    const [method = "GET"] = methods ?? [];
    const own = { host: hostOf(matcher), method, path, facts: factsFor(conditions) };
    return pattern.isPrefix && pattern.verb === undefined
      ? [own, { ...own, path: `${path === "/" ? "" : path}/${sample}` }]
      : [own];
  });
}

/** A path that fits a pattern; of a prefix the prefix itself. */
export function pathOf(pattern: Pattern): string {
  return toPath(pattern, ({ type }) => samples[type]);
}

/** A path by a pattern, with values for its free segments. */
export function toPath(
  { segments, free, isPrefix, verb }: Pattern,
  valueOf: (segment: Pattern["free"][number]) => string,
): string {
  const parts = segments.map((segment) => (segment === undefined ? "" : escapeSegment(segment)));
  for (const segment of free) parts[segment.index] = valueOf(segment);
  if (verb === undefined) return `/${parts.join("/")}`;
  if (isPrefix) parts.push(sample);
  return `/${parts.join("/")}:${verb}`;
}

/** A host that fits. */
export function hostOf({ host }: Pick<Matcher, "host">): string {
  if (host === undefined) return anyHost;
  return host.startsWith("*.") ? `${sample}${host.slice(1)}` : host;
}

/** Headers and parameters that fit. */
export function factsFor(conditions: Conditions | undefined): RequestFacts {
  if (conditions === undefined) return noFacts;
  const given = (rules: Conditions["headers"]): [string, string][] =>
    rules.flatMap(([name, rule]): [string, string][] => (rule === false ? [] : [[name, valueFor(rule)]]));
  const query = new URLSearchParams(given(conditions.query)).toString();
  return { headers: given(conditions.headers).flat(), query: query === "" ? "" : `?${query}` };
}

const noFacts: RequestFacts = Object.freeze({ headers: [], query: "" });

function valueFor(rule: ValueRule): string {
  if (typeof rule === "string") return rule;
  return typeof rule === "boolean" ? sample : `${rule.prefix ?? ""}${rule.suffix ?? ""}` || sample;
}
