import type { ParsedDocument } from "./schema.ts";

/** What one document has that another has not, routes by their names. */
export interface DocumentChanges {
  /** Whether there is any difference, also one that no route shows. */
  readonly any: boolean;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

export function changesBetween(
  { routes: old, ...before }: ParsedDocument,
  { routes: next, ...after }: ParsedDocument,
): DocumentChanges {
  const forms = new Map(old.map((route) => [route.name, JSON.stringify(route)]));
  const added: string[] = [];
  const changed: string[] = [];
  for (const route of next) {
    const form = forms.get(route.name);
    if (form === undefined) added.push(route.name);
    else if (form !== JSON.stringify(route)) changed.push(route.name);
    forms.delete(route.name);
  }
  const removed = [...forms.keys()];
  const isInOrder = old.length === next.length && next.every(({ name }, at) => name === old[at]?.name);
  const any = changed.length > 0 || !isInOrder || JSON.stringify(before) !== JSON.stringify(after);
  return { any, added, removed, changed };
}
