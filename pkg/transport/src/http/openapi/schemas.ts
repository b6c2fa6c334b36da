import { type Components, keyOf, refTo, type Side } from "./components.ts";
import { isJson, type Json, textOf } from "./json.ts";
import { toJsonSchema } from "./json-schema.ts";

/** Where a schema stands, and what it may refer to. */
export interface SchemaPlace {
  readonly side: Side;
  /** For messages: `POST /notes, body`. */
  readonly where: string;
  /** Schemas that the route's scope shares by `$id`, as `addSchema` has taken them. */
  readonly shared: Readonly<Record<string, unknown>>;
}

const holders = new Set(["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"]);
const lists = new Set(["allOf", "anyOf", "oneOf", "prefixItems"]);
const single = new Set([
  "additionalItems",
  "additionalProperties",
  "contains",
  "else",
  "if",
  "items",
  "not",
  "propertyNames",
  "then",
  "unevaluatedItems",
  "unevaluatedProperties",
]);

/** Writes the schemas of routes into a document: what has an id, or refers to itself, stands among its components. */
export class SchemaWriter {
  readonly #components: Components;
  /** Each once. */
  readonly warnings = new Set<string>();

  constructor(components: Components) {
    this.#components = components;
  }

  /** A schema for its place in the document: what it is, or a reference. */
  write(schema: unknown, place: SchemaPlace): Json {
    const root = this.#read(schema, place);
    return new Reading(root, place, this.#components, (text) => this.#warn(place, text)).root();
  }

  /** The schemas of the fields of an object, for parameters; undefined when that cannot be told. */
  fields(schema: unknown, place: SchemaPlace): readonly Field[] | undefined {
    const root = this.#read(schema, place);
    return new Reading(root, place, this.#components, (text) => this.#warn(place, text)).fields(root, new Set());
  }

  warn(place: Pick<SchemaPlace, "where">, text: string): void {
    this.#warn(place, text);
  }

  #read(schema: unknown, place: SchemaPlace): Json {
    return toJsonSchema(schema, place.side, (text) => this.#warn(place, `${text}; the document allows anything there`));
  }

  #warn({ where }: Pick<SchemaPlace, "where">, text: string): void {
    this.warnings.add(`${where}: ${text}`);
  }
}

export interface Field {
  readonly name: string;
  readonly schema: Json;
  readonly isRequired: boolean;
}

/** One schema, with what it holds and refers to. */
class Reading {
  readonly #root: Json;
  readonly #place: SchemaPlace;
  readonly #components: Components;
  readonly #warn: (text: string) => void;

  constructor(root: Json, place: SchemaPlace, components: Components, warn: (text: string) => void) {
    this.#root = root;
    this.#place = place;
    this.#components = components;
    this.#warn = warn;
  }

  root(): Json {
    const id = textOf(this.#root, "$id");
    return id !== undefined || refersTo(this.#root, "#") ? { $ref: this.#rootRef() } : this.#schema(this.#root);
  }

  fields(schema: Json, above: ReadonlySet<Json>): readonly Field[] | undefined {
    if (above.has(schema)) return undefined;
    const inside = new Set([...above, schema]);
    const target = this.#target(schema);
    if (target !== undefined) return this.fields(target, inside);
    const parts = [schema.allOf, schema.anyOf, schema.oneOf].flatMap((part) => (Array.isArray(part) ? [part] : []));
    if (!isJson(schema.properties) && parts.length === 0) return schema.type === "object" ? [] : undefined;
    const required = Array.isArray(schema.required) ? schema.required : [];
    const found = new Map<string, Field>();
    for (const [name, property] of Object.entries(isJson(schema.properties) ? schema.properties : {})) {
      found.set(name, { name, schema: this.#any(property), isRequired: required.includes(name) });
    }
    for (const part of parts) {
      const all = part.map((each: unknown) => (isJson(each) ? this.fields(each, inside) : undefined));
      for (const fields of all) {
        if (fields === undefined) return undefined;
        for (const field of fields) {
          const always = part === schema.allOf || all.every((one) => one?.some((other) => isSame(other, field)));
          if (!found.has(field.name)) found.set(field.name, { ...field, isRequired: field.isRequired && always });
        }
      }
    }
    return [...found.values()];
  }

  #any(value: unknown): Json {
    return isJson(value) ? this.#schema(value) : value === false ? { not: {} } : {};
  }

  #schema(schema: Json): Json {
    const written: [string, unknown][] = [];
    for (const [key, value] of Object.entries(schema)) {
      if (key === "$schema" || key === "$id" || key === "$defs" || key === "definitions") continue;
      if (key === "$ref" && typeof value === "string") written.push(...this.#ref(value));
      else if (holders.has(key) && isJson(value)) {
        written.push([key, Object.fromEntries(Object.entries(value).map(([name, each]) => [name, this.#child(each)]))]);
      } else if (lists.has(key) && Array.isArray(value)) written.push([key, value.map((each) => this.#child(each))]);
      else if (single.has(key)) written.push([key, this.#child(value)]);
      else written.push([key, value]);
    }
    return Object.fromEntries(written);
  }

  #child(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((each) => this.#child(each)); // a tuple of older drafts
    return isJson(value) ? this.#schema(value) : value;
  }

  /** A reference within this schema, or to one that the routes share, as one to a component. */
  #ref(ref: string): [string, unknown][] {
    const definition = definitionOf(ref);
    if (definition !== undefined) {
      const content = this.#definition(definition.kind, definition.name);
      if (content !== undefined) return [["$ref", `${this.#define(definition, content)}${definition.rest}`]];
    } else if (ref.startsWith("#")) return [["$ref", `${this.#rootRef()}${ref.slice(1)}`]];
    else {
      const [id = "", fragment = ""] = ref.split("#", 2);
      const shared = this.#place.shared[id];
      if (isJson(shared)) {
        const reading = new Reading(shared, this.#place, this.#components, this.#warn);
        return reading.#ref(`#${fragment}`);
      }
    }
    this.#warn(`nothing is at ${ref}, to which its schema refers; the document allows anything there`);
    return [];
  }

  #target({ $ref: ref }: Json): Json | undefined {
    if (typeof ref !== "string") return undefined;
    const definition = definitionOf(ref);
    if (definition?.rest === "") return this.#definition(definition.kind, definition.name);
    return ref === "#" ? this.#root : undefined;
  }

  #definition(kind: string, name: string): Json | undefined {
    const all = this.#root[kind];
    const found = isJson(all) && Object.hasOwn(all, name) ? all[name] : undefined;
    return isJson(found) ? found : undefined;
  }

  #define({ kind, name }: { readonly kind: string; readonly name: string }, content: Json): string {
    const key = keyOf(JSON.stringify([name, content, this.#reachable(content, new Set([`${kind}/${name}`]))]));
    // Of no name are those that a library has numbered.
    return this.#put(key, /^__schema\d+$/.test(name) ? textOf(content, "title") : name, content);
  }

  #rootRef(): string {
    const name = textOf(this.#root, "$id") ?? textOf(this.#root, "title");
    return this.#put(keyOf(JSON.stringify(this.#root)), name, this.#root);
  }

  #put(key: string, name: string | undefined, content: Json): string {
    if (this.#components.has(key)) return refTo(key);
    const { side, where } = this.#place;
    const definition = { name, side, where, content: {} };
    const ref = this.#components.add(key, definition); // first, for it may refer to itself
    definition.content = this.#schema(content);
    return ref;
  }

  /** All definitions that a schema leads to: two of one name are the same only if these are. */
  #reachable(schema: unknown, seen: Set<string>): readonly unknown[] {
    const found: unknown[] = [];
    for (const ref of refsIn(schema)) {
      const definition = definitionOf(ref);
      if (definition === undefined) {
        if (ref.startsWith("#") && !seen.has("#")) {
          seen.add("#");
          found.push(this.#root);
        }
        continue;
      }
      const path = `${definition.kind}/${definition.name}`;
      if (seen.has(path)) continue;
      seen.add(path);
      const content = this.#definition(definition.kind, definition.name);
      found.push([definition.name, content], ...this.#reachable(content, seen));
    }
    return found;
  }
}

interface DefinitionRef {
  readonly kind: string;
  readonly name: string;
  readonly rest: string;
}

/** `#/$defs/Note` and what stands behind it. */
function definitionOf(ref: string): DefinitionRef | undefined {
  const [, kind = "", name = "", rest = ""] = /^#\/(\$defs|definitions)\/([^/]+)(\/.*)?$/s.exec(ref) ?? [];
  return name === "" ? undefined : { kind, name: unescaped(name), rest };
}

/** @see https://www.rfc-editor.org/rfc/rfc6901 */
function unescaped(name: string): string {
  let text = name;
  try {
    text = decodeURIComponent(name);
  } catch {
    // a per cent sign that escapes nothing stands for itself
  }
  return text.replaceAll("~1", "/").replaceAll("~0", "~");
}

function refsIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(refsIn);
  if (!isJson(value)) return [];
  return Object.entries(value).flatMap(([key, child]) =>
    key === "$ref" && typeof child === "string" ? [child] : refsIn(child),
  );
}

/** Whether it refers to itself as a whole, or to a part of it that is no definition. */
function refersTo(schema: Json, start: string): boolean {
  return refsIn(schema).some((ref) => ref.startsWith(start) && definitionOf(ref) === undefined);
}

function isSame(a: Field, b: Field): boolean {
  return a.name === b.name && a.isRequired;
}
