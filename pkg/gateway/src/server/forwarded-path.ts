import type { Found } from "../router/entry.ts";
import { applyRewrite } from "../router/rewrite.ts";
import { rewritePath, type Route } from "./route.ts";

/**
 * The path that the service gets of a request that goes by a route. The proof of a document calls it too.
 * @returns Undefined when the path cannot be rewritten in one way only.
 */
export function forwardedPath(
  { route, rewrite, prefixSegments }: Found<Pick<Route, "rewritePrefix">>,
  path: string,
): string | undefined {
  if (rewrite) return applyRewrite(rewrite, path);
  return route.rewritePrefix === undefined ? path : rewritePath(path, prefixSegments, route.rewritePrefix);
}
