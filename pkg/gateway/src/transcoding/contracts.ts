import type { DocumentChanges } from "../config/changes.ts";
import { readDescriptors } from "./descriptors.ts";

/** What the routes of a document translate by, by their names: the same object as long as the file says the same. */
export type Contracts = ReadonlyMap<string, unknown>;

/** As the files are now. */
export function contractsOf(
  routes: readonly { readonly name: string; readonly grpc?: { readonly descriptors: string } | undefined }[],
): Contracts {
  return new Map(
    routes.flatMap(({ name, grpc }) => (grpc ? [[name, readDescriptors(grpc.descriptors)] as const] : [])),
  );
}

/** Changes of a document, with those of the contracts that it names. */
export function withContracts(changes: DocumentChanges, before: Contracts, after: Contracts): DocumentChanges {
  const others = [...after.keys()].filter((name) => before.has(name) && before.get(name) !== after.get(name));
  if (others.length === 0) return changes;
  return { ...changes, any: true, changed: [...new Set([...changes.changed, ...others])] };
}
