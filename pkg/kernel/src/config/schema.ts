// Reading JSON Schema, as far as a section of the config needs it.

export type JsonSchema = Readonly<Record<string, unknown>>;

/** The schema itself, or what its `$ref` points at in the document `root`; a reference that leads nowhere takes anything. */
export function follow(schema: unknown, root: JsonSchema): JsonSchema {
  let at = schema;
  for (let hops = 0; hops < 16 && isSchema(at); hops++) {
    if (typeof at.$ref !== "string") return at;
    const { $ref: reference, ...beside } = at;
    const target = targetOf(reference, root);
    at = isSchema(target) ? { ...target, ...beside } : beside;
  }
  return {};
}

/** The schemas that a value may fit: the schema itself, or its alternatives. */
export function optionsOf(schema: unknown, root: JsonSchema, depth = 0): JsonSchema[] {
  const own = follow(schema, root);
  const inner = depth < 16 ? [own.anyOf, own.oneOf, own.allOf].filter(Array.isArray).flat() : [];
  return inner.length > 0 ? inner.flatMap((option) => optionsOf(option, root, depth + 1)) : [own];
}

/** Whether the schema, or one inside it, is of a secret: it says `writeOnly`. */
export function holdsSecret(schema: unknown, root: JsonSchema, seen: ReadonlySet<string> = new Set()): boolean {
  if (Array.isArray(schema)) return schema.some((each) => holdsSecret(each, root, seen));
  if (!isSchema(schema)) return false;
  if (schema.writeOnly === true) return true;
  if (typeof schema.$ref === "string" && !seen.has(schema.$ref)) {
    if (holdsSecret(targetOf(schema.$ref, root), root, new Set([...seen, schema.$ref]))) return true;
  }
  return Object.entries(schema).some(([key, child]) => key !== "$defs" && holdsSecret(child, root, seen));
}

export function isSchema(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `#` or `#/$defs/name`. */
function targetOf(reference: string, root: JsonSchema): unknown {
  if (!reference.startsWith("#")) return undefined;
  let at: unknown = root;
  for (const part of reference.split("/").slice(1)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return undefined;
    at = Reflect.get(at, key);
  }
  return at;
}
