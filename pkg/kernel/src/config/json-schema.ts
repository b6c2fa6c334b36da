import { declare, type Declared } from "./declared.ts";
import { isSchema, type JsonSchema } from "./schema.ts";
import type { SettingsToken } from "./settings.ts";

/** {@link documentSchema} of sections that no config has been loaded for. */
export function configSchema(sections: Iterable<SettingsToken>): Record<string, unknown> {
  return documentSchema(declare(sections));
}

/**
 * One JSON Schema (draft 2020-12) of a whole config file, for editors: `# yaml-language-server: $schema=config.schema.json`,
 * or `"$schema"` in JSON. No key is required, since a value may come from elsewhere.
 */
export function documentSchema({
  sections,
  schemaOf,
}: Pick<Declared, "sections" | "schemaOf">): Record<string, unknown> {
  const properties = [...sections.keys()].toSorted().map((section): [string, unknown] => {
    const { $schema: _, ...schema } = schemaOf(section, []) ?? {};
    return [section, adapt(schema, `#/properties/${section.replaceAll("~", "~0").replaceAll("/", "~1")}`)];
  });
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    properties: { $schema: { type: "string" }, ...Object.fromEntries(properties) },
    additionalProperties: false,
  };
}

/** Words under which a schema is plain data, not a schema. */
const dataWords: ReadonlySet<string> = new Set(["const", "default", "enum", "examples"]);
/** What may not hold for a secret that names its file. */
const textWords = ["format", "pattern", "maxLength", "enum", "const"];

/** A section's schema inside the whole: references from the new root, and nothing that a partial document would break. */
function adapt(schema: unknown, root: string): unknown {
  if (Array.isArray(schema)) return schema.map((each) => adapt(each, root));
  if (!isSchema(schema)) return schema;
  const result: Record<string, unknown> = {};
  for (const [word, value] of Object.entries(schema)) {
    if (word === "required" && Array.isArray(value)) continue;
    if (word === "$ref" && typeof value === "string") result[word] = value.replace(/^#/, root);
    else if ((word === "properties" || word === "$defs") && isSchema(value)) result[word] = adaptEach(value, root);
    else result[word] = dataWords.has(word) ? value : adapt(value, root);
  }
  return withFileReference(result);
}

function adaptEach(schemas: JsonSchema, root: string): JsonSchema {
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, adapt(schema, root)]));
}

/** A secret may be `file:/run/secrets/name` whatever its own text must look like. */
function withFileReference(schema: Record<string, unknown>): Record<string, unknown> {
  const isLong = typeof schema.minLength === "number" && schema.minLength > "file:".length;
  if (schema.writeOnly !== true || (!isLong && !textWords.some((word) => word in schema))) return schema;
  const { description, writeOnly, ...own } = schema;
  return { ...(description === undefined ? {} : { description }), writeOnly, anyOf: [{ pattern: "^file:" }, own] };
}
