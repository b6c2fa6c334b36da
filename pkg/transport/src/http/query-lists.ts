import type { StandardSchemaV1 } from "@plinth/kernel";
import { jsonSchemaTeller } from "./schema-kinds.ts";

/**
 * Reads which fields of a query hold lists alone, so that one of them that was sent once, `?tag=a`, is a list too, as JSON Schemas
 * of fastify have it and OpenAPI says. A schema that cannot tell its JSON Schema has none.
 */
export function listFieldsOf(schema: StandardSchemaV1): ReadonlySet<string> {
  const tell = jsonSchemaTeller(schema, "input");
  if (tell === undefined) return new Set();
  let root: unknown;
  try {
    root = tell("draft-2020-12");
  } catch {
    return new Set(); // it validates all the same
  }
  const names = new Set<string>();
  collect(root, root, names, 0);
  return names;
}

/** The query with those fields as lists that came once. */
export function withLists(query: unknown, names: ReadonlySet<string>): unknown {
  if (typeof query !== "object" || query === null) return query;
  let lists: Record<string, unknown> | undefined;
  for (const name of names) {
    const value: unknown = Object.hasOwn(query, name) ? Reflect.get(query, name) : undefined;
    if (value === undefined || Array.isArray(value)) continue;
    lists ??= { ...query };
    lists[name] = [value];
  }
  return lists ?? query;
}

/** Deep enough for any schema of a query, and an end to those that go round. */
const maxDepth = 8;

function collect(schema: unknown, root: unknown, names: Set<string>, depth: number): void {
  if (depth > maxDepth || typeof schema !== "object" || schema === null) return;
  const properties: unknown = Reflect.get(schema, "properties");
  if (typeof properties === "object" && properties !== null) {
    for (const [name, property] of Object.entries(properties)) if (isListAlone(property, root, 0)) names.add(name);
  }
  collect(targetOf(schema, root), root, names, depth + 1);
  for (const each of membersOf(schema, "allOf")) collect(each, root, names, depth + 1);
}

function isListAlone(schema: unknown, root: unknown, depth: number): boolean {
  if (depth > maxDepth || typeof schema !== "object" || schema === null) return false;
  if (Reflect.get(schema, "type") === "array") return true;
  const target = targetOf(schema, root);
  if (target !== undefined) return isListAlone(target, root, depth + 1);
  const members = [...membersOf(schema, "anyOf"), ...membersOf(schema, "oneOf")].filter((each) => !isNull(each));
  return members.length > 0 && members.every((each) => isListAlone(each, root, depth + 1));
}

function isNull(schema: unknown): boolean {
  return typeof schema === "object" && schema !== null && Reflect.get(schema, "type") === "null";
}

function membersOf(schema: object, key: string): readonly unknown[] {
  const members: unknown = Reflect.get(schema, key);
  return Array.isArray(members) ? members : [];
}

function targetOf(schema: object, root: unknown): unknown {
  const ref: unknown = Reflect.get(schema, "$ref");
  const [, name] = typeof ref === "string" ? (/^#\/\$defs\/([^/]+)$/.exec(ref) ?? []) : [];
  const all: unknown =
    name !== undefined && typeof root === "object" && root !== null ? Reflect.get(root, "$defs") : undefined;
  return typeof all === "object" && all !== null && name !== undefined ? Reflect.get(all, name) : undefined;
}
