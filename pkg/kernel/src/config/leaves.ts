import { follow, holdsSecret, isSchema, type JsonSchema, optionsOf } from "./schema.ts";

/** What a text may spell. `list` is JSON or comma-separated, `json` is JSON. */
export type Kind = "list" | "json" | "boolean" | "number" | "string";

/** One value of the config that a variable or an argument can set, as its section's JSON Schema describes it. */
export interface Leaf {
  readonly path: readonly string[];
  /** The path with dots: `http.port`, which on the command line is `--http.port`. */
  readonly key: string;
  /** `PLINTH_HTTP_PORT`. */
  readonly variable: string;
  readonly schema: JsonSchema;
  /** Tried in this order. */
  readonly kinds: readonly Kind[];
  /** Kinds of what stands in a `list`. */
  readonly itemKinds: readonly Kind[];
  /** Never shown: the schema, or one around or inside it, says `writeOnly`. */
  readonly isSecret: boolean;
}

export const variablePrefix = "PLINTH_";

/** `["http", "announceDelayMs"]` → `PLINTH_HTTP_ANNOUNCE_DELAY_MS`. */
export function variableName(path: readonly string[]): string {
  const words = path.map((part) => part.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").replaceAll(/[^A-Za-z0-9]/g, "_"));
  return `${variablePrefix}${words.join("_").toUpperCase()}`;
}

/** All leaves of a section, in the order of its JSON Schema; arrays, free-form objects and unions are one leaf. */
export function leavesOf(root: unknown, section: string): Leaf[] {
  if (!isSchema(root)) return [];
  const collect = (given: unknown, path: readonly string[], isSecret: boolean, above: readonly unknown[]): Leaf[] => {
    const schema = follow(given, root);
    const hidden = isSecret || schema.writeOnly === true;
    // what refers to something around it has no end: it is one leaf
    if (isSchema(schema.properties) && !above.includes(schema.properties)) {
      const around = [...above, schema.properties];
      return Object.entries(schema.properties).flatMap(([key, child]) =>
        collect(child, [...path, key], hidden, around),
      );
    }
    const leaf: Leaf = {
      path,
      key: path.join("."),
      variable: variableName(path),
      schema,
      kinds: kindsOf(schema, root),
      itemKinds: kindsOf(
        { anyOf: optionsOf(schema, root).flatMap(({ items }) => (isSchema(items) ? [items] : [])) },
        root,
      ),
      isSecret: hidden || holdsSecret(schema, root),
    };
    return [leaf];
  };
  return collect(root, [section], false, []);
}

/** The kinds that a schema takes; all its alternatives together. */
function kindsOf(schema: unknown, root: JsonSchema): readonly Kind[] {
  const found = new Set<Kind>();
  for (const option of optionsOf(schema, root)) {
    if (option.type === "null") continue;
    const choices = Array.isArray(option.enum) ? option.enum : "const" in option ? [option.const] : undefined;
    const types = choices
      ? choices.filter((choice) => choice !== null).map((choice: unknown) => typeof choice)
      : [option.type].flat();
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
