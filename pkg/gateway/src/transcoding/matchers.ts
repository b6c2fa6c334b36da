import type { Conditions } from "../router/conditions.ts";
import type { Matcher } from "../router/entry.ts";
import { type Pattern, parsePattern } from "../router/pattern.ts";
import { type BoundPath, bindingsOf, type TranscodingConfig } from "./bindings.ts";

/** The part of a route that says which requests are translated. */
export interface TranscodedRoute {
  readonly grpc: TranscodingConfig;
  readonly match: {
    readonly path: string | readonly string[];
    readonly methods?: readonly string[] | undefined;
    readonly host?: string | undefined;
  };
  readonly priority: number;
}

type OnProblem = (problem: string, path: readonly PropertyKey[]) => void;

/** Which requests a route is for that translates: those of its annotations that are below its own paths, one for each. */
export function transcodingMatchers(
  { grpc, match, priority }: TranscodedRoute,
  conditions: Conditions | undefined,
  onProblem: OnProblem,
): Matcher[] {
  const { paths } = bindingsOf(grpc, (problem, path) => onProblem(problem, ["grpc", ...path]));
  const texts = typeof match.path === "string" ? [match.path] : match.path;
  const own = texts.flatMap((text, index) => {
    const pattern = parsePattern(text);
    const at = typeof match.path === "string" ? ["match", "path"] : ["match", "path", index];
    if (typeof pattern === "string") {
      onProblem(`${JSON.stringify(text)}: ${pattern}`, at);
      return [];
    }
    if (paths.length > 0 && !paths.some((path) => isBelow(path.pattern, pattern)))
      onProblem(`no path of the annotations is below ${text}; ${paths[0]?.pattern.text ?? ""} is one of them`, at);
    return [pattern];
  });
  return paths.flatMap((path) => toMatcher(path, own, { match, priority, conditions }));
}

/** Paths of its annotations that the route does not take. */
export function unusedPaths({ grpc, match }: TranscodedRoute): string[] {
  const { paths, unbound } = bindingsOf(grpc, () => undefined);
  const own = [match.path].flat().flatMap((text) => {
    const pattern = parsePattern(text);
    return typeof pattern === "string" ? [] : [pattern];
  });
  return [
    ...paths
      .filter((path) => toMatcher(path, own, { match, priority: 0, conditions: undefined }).length === 0)
      .map(
        ({ httpMethod, pattern, binding }) =>
          `${httpMethod} ${pattern.text} of ${binding.rpc} is not below what \`match\` says`,
      ),
    ...unbound.map((rpc) => `${rpc} has no annotation google.api.http, and no path leads to it`),
  ];
}

function toMatcher(
  { binding, pattern, httpMethod }: BoundPath,
  own: readonly Pattern[],
  {
    match,
    priority,
    conditions,
  }: Pick<TranscodedRoute, "match" | "priority"> & { readonly conditions: Conditions | undefined },
): Matcher[] {
  if (match.methods?.includes(httpMethod) === false || !own.some((above) => isBelow(pattern, above))) return [];
  // The service is asked for the method's own path: what the proof compares, and what `explain` shows.
  const rewrite = { parts: binding.rpc.split("/"), restFrom: -1 };
  return [{ pattern, methods: [httpMethod], host: match.host, priority, conditions, rewrite, binding }];
}

function isBelow(pattern: Pattern, above: Pattern): boolean {
  const fits = above.segments.every((segment, at) => {
    if (at >= pattern.segments.length) return false;
    return segment === undefined
      ? above.free.every(({ index, type }) => index !== at || type === "any")
      : segment === pattern.segments[at];
  });
  if (!fits) return false;
  if (above.isPrefix) return true;
  return !pattern.isPrefix && pattern.verb === undefined && pattern.segments.length === above.segments.length;
}
