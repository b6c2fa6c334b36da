import type { ConfigFault } from "./errors.ts";

/** What the text of a variable may spell. `list` is JSON or comma-separated, `json` is JSON. */
type Kind = "list" | "json" | "boolean" | "number" | "string";

/** One value of the config that a variable can set, as its section's JSON Schema describes it. */
export interface Leaf {
  readonly path: readonly string[];
  /** Tried in this order. */
  readonly kinds: readonly Kind[];
  /** Kinds of what stands in a `list`. */
  readonly itemKinds: readonly Kind[];
  /** Never shown: the schema, or one inside it, says `writeOnly`. */
  readonly secret: boolean;
}

/** All leaves below a JSON Schema object; arrays, free-form objects and unions are one leaf. */
export function leavesOf(schema: unknown, path: readonly string[]): Leaf[] {
  if (!isObject(schema)) return [];
  if (isObject(schema.properties)) {
    return Object.entries(schema.properties).flatMap(([key, child]) => leavesOf(child, [...path, key]));
  }
  return [{ path, kinds: kindsOf(schema), itemKinds: kindsOf(schema.items), secret: holdsSecret(schema) }];
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
  for (const kind of leaf.kinds) {
    const parsed = kind === "list" ? parseList(text, leaf.itemKinds) : parsers[kind](text);
    if (parsed) return parsed;
  }
  const expected = leaf.kinds.map((kind) => expectations[kind]).join(", or ");
  const problem = `expected ${expected}, got ${leaf.secret ? "***" : JSON.stringify(text.slice(0, 100))}`;
  return { fault: { key: leaf.path.join("."), problem, source: variable } };
}

type Parsed = { readonly value: unknown } | undefined;

const expectations: Readonly<Record<Kind, string>> = {
  list: "JSON or a comma-separated list",
  json: "JSON",
  boolean: "true or false",
  number: "a number",
  string: "text",
};

const parsers: Readonly<Record<Exclude<Kind, "list">, (text: string) => Parsed>> = {
  json: parseJson,
  string: (text) => ({ value: text }),
  boolean(text) {
    const trimmed = text.trim();
    if (trimmed === "true" || trimmed === "1") return { value: true };
    return trimmed === "false" || trimmed === "0" ? { value: false } : undefined;
  },
  number(text) {
    const trimmed = text.trim();
    if (!/^[+-]?\d+(_\d+)*(\.\d+)?(e[+-]?\d+)?$/i.test(trimmed)) return undefined;
    return { value: Number(trimmed.replaceAll("_", "")) };
  },
};

function parseJson(text: string): Parsed {
  try {
    return { value: JSON.parse(text, (key, value: unknown) => (key === "__proto__" ? undefined : value)) };
  } catch {
    return undefined; // the caller says what was expected
  }
}

function parseList(text: string, itemKinds: readonly Kind[]): Parsed {
  if (/^\s*[[{"]/.test(text)) return parseJson(text);
  const parts = text.split(",").map((part) => part.trim());
  const toValue = (part: string): unknown => {
    for (const kind of itemKinds) {
      const parsed = kind === "list" ? undefined : parsers[kind](part);
      if (parsed) return parsed.value;
    }
    return part; // the schema says what is wrong with it
  };
  return { value: parts.filter((part) => part !== "").map(toValue) };
}

/** The kinds that a schema takes; all its alternatives together. */
function kindsOf(schema: unknown): readonly Kind[] {
  const found = new Set<Kind>();
  for (const option of optionsOf(schema)) {
    const choices = Array.isArray(option.enum) ? option.enum : "const" in option ? [option.const] : undefined;
    const types = choices ? choices.map((choice: unknown) => typeof choice) : [option.type].flat();
    for (const type of types) found.add(kindOfType(type));
    // free text takes what looks like a number; one of a few words does not
    if (!choices && types.includes("string")) found.delete("number");
  }
  const order: readonly Kind[] = ["list", "json", "boolean", "number", "string"];
  return order.filter((kind) => found.has(kind));
}

function kindOfType(type: unknown): Kind {
  if (type === "array") return "list";
  if (type === "object") return "json";
  if (type === "boolean") return "boolean";
  return type === "number" || type === "integer" ? "number" : "string";
}

function optionsOf(schema: unknown): Record<string, unknown>[] {
  if (!isObject(schema) || schema.type === "null") return [];
  const inner = [schema.anyOf, schema.oneOf, schema.allOf].filter(Array.isArray).flat();
  return inner.length > 0 ? inner.flatMap(optionsOf) : [schema];
}

function holdsSecret(schema: unknown): boolean {
  if (Array.isArray(schema)) return schema.some(holdsSecret);
  return isObject(schema) && (schema.writeOnly === true || Object.values(schema).some(holdsSecret));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
