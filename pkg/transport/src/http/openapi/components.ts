import { createHash } from "node:crypto";
import { isJson, type Json, sorted } from "./json.ts";

/** Which way the values of a schema go: the two may differ, as a default makes a field of a request optional, and of a reply not. */
export type Side = "request" | "reply";

/** The schemas of one definition, with all that it refers to. */
interface Definition {
  /** What it would like to be called; undefined where it has no name of its own. */
  readonly name: string | undefined;
  readonly side: Side;
  /** References are written as `#/components/schemas/<key>` until names are given. */
  content: Json;
  readonly where: string;
}

const prefix = "#/components/schemas/";

/** The schemas that a document shares, each of which gets one name, whoever came first. */
export class Components {
  /** By what they hold, so that the same schema is there once. */
  readonly #definitions = new Map<string, Definition>();
  /** Two schemas with one id, and the like. */
  readonly faults: string[] = [];

  /** Takes a schema whose references have been written; returns where it will stand. */
  add(key: string, definition: Definition): string {
    if (!this.#definitions.has(key)) this.#definitions.set(key, definition);
    return refTo(key);
  }

  has(key: string): boolean {
    return this.#definitions.has(key);
  }

  /** Gives names and writes them wherever a schema is referred to. */
  finish(document: Json): { readonly document: Json; readonly schemas: Readonly<Record<string, unknown>> } {
    const names = this.#names();
    const rename = (value: unknown): unknown => renamed(value, names);
    const schemas = [...this.#definitions].map(([key, { content }]): [string, unknown] => [
      names.get(key) ?? key,
      rename(content),
    ]);
    const written = rename(document);
    return { document: isJson(written) ? written : document, schemas: sorted(schemas) };
  }

  #names(): ReadonlyMap<string, string> {
    const names = new Map<string, string>();
    const taken = new Set<string>();
    const wishes = Map.groupBy(this.#definitions, ([key, { name }]) => safeName(name ?? `Schema_${key.slice(0, 8)}`));
    for (const [wish, definitions] of [...wishes].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      // What goes out has the plain name; and in an order that does not change with the order of the routes.
      const inOrder = definitions.toSorted(
        ([a, one], [b, other]) => rank(one.side) - rank(other.side) || (a < b ? -1 : 1),
      );
      const replies = inOrder.filter(([, { side }]) => side === "reply").length;
      for (const side of ["reply", "request"] as const) this.#tellTwins(wish, inOrder, side);
      for (const [key, { side }] of inOrder) {
        const base = side === "request" && replies > 0 ? `${wish}Input` : wish;
        let name = base;
        for (let count = 2; taken.has(name); count++) name = `${base}${count}`;
        taken.add(name);
        names.set(key, name);
      }
    }
    return names;
  }

  #tellTwins(name: string, definitions: readonly (readonly [string, Definition])[], side: Side): void {
    const same = definitions.filter(([, definition]) => definition.side === side);
    if (same.length < 2) return;
    const places = same.map(([, { where }]) => where).join(", ");
    this.faults.push(`${same.length} unlike schemas have the id ${name}: ${places}; give each an id of its own`);
  }
}

/** Stands for what a schema and all that it refers to hold. */
export function keyOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

export function refTo(key: string): string {
  return `${prefix}${key}`;
}

function rank(side: Side): number {
  return side === "reply" ? 0 : 1;
}

/** The characters that a name in a document may have. */
function safeName(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9._-]/g, "_");
}

/** A key is 64 digits of a hash: nothing that somebody has written looks like a reference to one. */
function renamed(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(value)) return value.map((each) => renamed(each, names));
  if (!isJson(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => {
      if (key !== "$ref" || typeof child !== "string" || !child.startsWith(prefix)) return [key, renamed(child, names)];
      const [target = "", ...rest] = child.slice(prefix.length).split("/");
      return [key, `${prefix}${[names.get(target) ?? target, ...rest].join("/")}`];
    }),
  );
}
