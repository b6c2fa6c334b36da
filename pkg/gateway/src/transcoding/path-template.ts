import { canonicalPath } from "../path.ts";
import { decodeSegment, type FreeSegment, type Pattern } from "../router/pattern.ts";

/** A field of the request that is part of the path. */
export interface PathVariable {
  /** Names of fields, from the outside in. */
  readonly field: readonly string[];
  /** Its first segment, from 0. */
  readonly from: number;
  /** The segment behind its last one; undefined: all that follow are its own. */
  readonly to: number | undefined;
}

/** A path of an annotation, read. */
export interface ParsedTemplate {
  readonly pattern: Pattern;
  readonly variables: readonly PathVariable[];
}

/**
 * Reads `/v1/{name=shelves/*}/books/{id}:cancel`.
 * @returns What is wrong, as text, when it cannot be read.
 * @see https://github.com/googleapis/googleapis/blob/master/google/api/http.proto
 */
export function parsePathTemplate(text: string): ParsedTemplate | string {
  if (!text.startsWith("/")) return "expected a path that begins with /";
  const tail = Math.max(text.lastIndexOf("/"), text.lastIndexOf("}"));
  const colon = text.indexOf(":", tail);
  const verb = colon < 0 ? undefined : text.slice(colon + 1);
  if (verb !== undefined && !/^[\w.~-]+$/.test(verb)) return "expected letters, digits and _ behind the last colon";
  const reader = new TemplateReader();
  // A slash within braces is the variable's own.
  const parts = (colon < 0 ? text : text.slice(0, colon)).slice(1).split(/\/(?![^{]*\})/);
  for (const part of parts) {
    const fault = reader.take(part);
    if (fault !== undefined) return fault;
  }
  return reader.end(text, verb);
}

class TemplateReader {
  readonly #segments: (string | undefined)[] = [];
  readonly #free: FreeSegment[] = [];
  readonly #variables: PathVariable[] = [];
  #hasRest = false;

  /** @returns What is wrong with it, as text. */
  take(part: string): string | undefined {
    if (!part.startsWith("{")) return this.#segment(part, undefined);
    const [, name = "", own = "*"] = /^\{([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:=([^{}]+))?\}$/.exec(part) ?? [];
    if (name === "") return `expected "{field}" or "{field=segments}", not ${JSON.stringify(part)}`;
    const from = this.#segments.length;
    const parts = own.split("/");
    for (const each of parts) {
      const fault = this.#segment(each, parts.length === 1 ? name.replaceAll(".", "_") : undefined);
      if (fault !== undefined) return fault;
    }
    if (this.#variables.some(({ field }) => field.join(".") === name)) return `field ${name} stands in it twice`;
    this.#variables.push({ field: name.split("."), from, to: this.#hasRest ? undefined : this.#segments.length });
    return undefined;
  }

  end(text: string, verb: string | undefined): ParsedTemplate | string {
    const last = this.#segments.length - 1;
    const literal = this.#hasRest ? undefined : this.#segments[last];
    if (verb !== undefined && last < 0 && !this.#hasRest) return "there is nothing before its last colon";
    // Behind a literal segment it is just a part of that.
    if (verb !== undefined && literal !== undefined) this.#segments[last] = `${literal}:${verb}`;
    const pattern = { text, segments: this.#segments, free: this.#free, isPrefix: this.#hasRest };
    return {
      pattern: verb === undefined || literal !== undefined ? pattern : { ...pattern, verb },
      variables: this.#variables,
    };
  }

  #segment(part: string, name: string | undefined): string | undefined {
    const index = this.#segments.length;
    if (this.#hasRest) return '"**" can only stand at the end';
    if (part === "**") this.#hasRest = true;
    else if (part === "*") {
      this.#free.push({ index, name: name ?? `_${index}`, type: "any" });
      this.#segments.push(undefined);
    } else {
      if (part === "" || /[*{}:]/.test(part)) return `${JSON.stringify(part)} is no segment`;
      const canonical = canonicalPath(`/${part}`);
      if (canonical !== `/${part}`) return `no request can match ${JSON.stringify(part)}: it is not in canonical form`;
      this.#segments.push(decodeSegment(part));
    }
    return undefined;
  }
}

/**
 * What stands in a path for a variable.
 * @param path - Canonical, and matched by the template's pattern.
 * @param verb - Of the pattern.
 */
export function valueIn(path: string, { from, to }: PathVariable, verb: string | undefined): string {
  const segments = path.split("/").slice(1).map(decodeSegment);
  if (to === undefined && segments.at(-1) === "") segments.pop();
  const end = to ?? segments.length;
  const value = segments.slice(from, end).join("/");
  return verb !== undefined && end >= segments.length ? value.slice(0, -verb.length - 1) : value;
}
