import type { ConfigFault } from "./errors.ts";

/** One value of the config that a variable can set, as its section's JSON Schema describes it. */
export interface Leaf {
  readonly path: readonly string[];
  readonly type: "string" | "number" | "boolean" | "json";
  /** Never shown: the schema says `writeOnly`. */
  readonly secret: boolean;
}

/** All leaves below a JSON Schema object; arrays and free-form objects are one leaf, given as JSON or, for text, comma separated. */
export function leavesOf(schema: unknown, path: readonly string[]): Leaf[] {
  if (!isObject(schema)) return [];
  if (isObject(schema.properties)) {
    return Object.entries(schema.properties).flatMap(([key, child]) => leavesOf(child, [...path, key]));
  }
  return [{ path, type: leafType(schema), secret: schema.writeOnly === true }];
}

/** `["http", "announceDelayMs"]` → `PLINTH_HTTP_ANNOUNCE_DELAY_MS`. */
export function variableName(prefix: string, path: readonly string[]): string {
  const words = path.map((part) => part.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").replaceAll(/[^A-Za-z0-9]/g, "_"));
  return `${prefix}${words.join("_").toUpperCase()}`;
}

/** The value that `text` spells for this leaf, or the fault in it. */
export function parseVariable(
  leaf: Leaf,
  text: string,
  variable: string,
): { readonly value: unknown } | { readonly fault: ConfigFault } {
  const fault = (expected: string): { readonly fault: ConfigFault } => ({
    fault: {
      key: leaf.path.join("."),
      problem: `expected ${expected}, got ${leaf.secret ? "***" : JSON.stringify(text)}`,
      source: variable,
    },
  });
  const trimmed = text.trim();
  switch (leaf.type) {
    case "string":
      return { value: text };
    case "number":
      return /^[+-]?(\d[\d_]*)(\.\d+)?(e[+-]?\d+)?$/i.test(trimmed)
        ? { value: Number(trimmed.replaceAll("_", "")) }
        : fault("a number");
    case "boolean":
      if (trimmed === "true" || trimmed === "1") return { value: true };
      return trimmed === "false" || trimmed === "0" ? { value: false } : fault("true or false");
    case "json":
      if (!/^[[{"]/.test(trimmed)) return { value: trimmed.split(",").map((part) => part.trim()) };
      try {
        return { value: JSON.parse(trimmed, (key, value: unknown) => (key === "__proto__" ? undefined : value)) };
      } catch {
        return fault("JSON or a comma-separated list");
      }
  }
}

function leafType(schema: Record<string, unknown>): Leaf["type"] {
  const options = [schema, ...(Array.isArray(schema.anyOf) ? schema.anyOf.filter(isObject) : [])];
  const types = new Set(
    options.map((option) => option.type ?? (Array.isArray(option.enum) || "const" in option ? "string" : undefined)),
  );
  if (types.has("array") || types.has("object")) return "json";
  if (types.has("boolean")) return "boolean";
  if (types.has("integer") || types.has("number")) return types.has("string") ? "string" : "number";
  return "string";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
