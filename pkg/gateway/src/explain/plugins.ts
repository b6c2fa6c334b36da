import type { ParsedDocument, RouteConfig } from "../config/schema.ts";
import type { PluginPlace } from "./explain.ts";

/** The plugins that a route's requests go by, in the order in which they are asked. @param known - Those of the gateway, in order. */
export function pluginsOf(
  route: RouteConfig,
  document: ParsedDocument,
  known: readonly PluginPlace[] | undefined,
): PluginPlace[] {
  const named = new Set([...Object.keys(document.plugins ?? {}), ...Object.keys(route.plugins ?? {})]);
  const used = [...named].filter((name) => (route.plugins?.[name] ?? document.plugins?.[name]) !== false);
  if (!known) return used.toSorted().map((name) => ({ name }));
  return known.flatMap(({ name, stage, order }) => (used.includes(name) ? [{ name, stage, order }] : []));
}
