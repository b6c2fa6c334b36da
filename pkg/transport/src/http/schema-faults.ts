import type { StandardSchemaV1 } from "@plinth/kernel";
import { type FieldFault, toPointer } from "../errors.ts";

/** What a schema finds wrong, by JSON pointer. */
export function toFaults(issue: StandardSchemaV1.Issue & { readonly keys?: unknown }, prefix: string): FieldFault[] {
  const pointer = toPointer(
    prefix,
    (issue.path ?? []).map((part) => (typeof part === "object" ? part.key : part)),
  );
  if (Array.isArray(issue.keys))
    return issue.keys.map((key) => ({ pointer: toPointer(pointer, [String(key)]), detail: "is not a known field" }));
  return [{ pointer, detail: issue.message.replace(/^Invalid input: /, "") }];
}
