import type { ParsedDocument } from "./schema.ts";

/** What one document has that another has not, routes by their names. */
export interface DocumentChanges {
  /** Whether there is any difference, also one that no route shows. */
  readonly any: boolean;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

export function changesBetween(before: ParsedDocument, after: ParsedDocument): DocumentChanges {
  const old = new Map(before.routes.map((route) => [route.name, JSON.stringify(route)]));
  const next = new Map(after.routes.map((route) => [route.name, JSON.stringify(route)]));
  return {
    any: JSON.stringify(before) !== JSON.stringify(after),
    added: [...next.keys()].filter((name) => !old.has(name)),
    removed: [...old.keys()].filter((name) => !next.has(name)),
    changed: [...next].flatMap(([name, form]) => (old.has(name) && old.get(name) !== form ? [name] : [])),
  };
}
