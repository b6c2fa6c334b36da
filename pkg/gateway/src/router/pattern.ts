import { canonicalPath } from "../path.ts";

/** What a free segment may hold: anything, digits, or a UUID. No text is both of the latter. */
export type SegmentType = "any" | "int" | "uuid";

/** A segment that takes any value of its type. */
export interface FreeSegment {
  /** Where it stands, from 0. */
  readonly index: number;
  readonly name: string;
  readonly type: SegmentType;
}

/** A path pattern of a route, read. */
export interface Pattern {
  /** As it was written: what `http.route` shows. */
  readonly text: string;
  /** Decoded literal, or undefined for a free one. */
  readonly segments: readonly (string | undefined)[];
  /** Those that are free, in their order. */
  readonly free: readonly FreeSegment[];
  /** Whether everything below matches as well: it ended in `/**`. */
  readonly isPrefix: boolean;
  /** What stands behind a colon at the end of the last segment, which is free, or of what is below a prefix. Undefined: anything. */
  readonly verb?: string | undefined;
}

const types: ReadonlySet<string> = new Set<SegmentType>(["int", "uuid"]);

/**
 * Reads `/notes`, `/notes/:id`, `/notes/:id<int>/tags` or `/hello/**`. A trailing slash counts: `/notes/` is another path than `/notes`.
 * @returns What is wrong, as text, when it cannot be read.
 */
export function parsePattern(text: string): Pattern | string {
  if (!text.startsWith("/")) return "expected a path that begins with /";
  const isPrefix = text.endsWith("/**");
  const parts = (isPrefix ? text.slice(0, -3) : text).split("/").slice(1);
  const free: FreeSegment[] = [];
  const segments: (string | undefined)[] = [];
  for (const [index, part] of parts.entries()) {
    if (part.startsWith(":")) {
      const [, name = "", type = "any"] = /^:([A-Za-z_]\w*)(?:<([^>]*)>)?$/.exec(part) ?? [];
      if (name === "") return `":name" expected, letters, digits and _, not ${JSON.stringify(part)}`;
      if (type !== "any" && !isType(type)) return `${JSON.stringify(part)}: the type is "int" or "uuid"`;
      if (free.some((before) => before.name === name)) return `${JSON.stringify(`:${name}`)} stands in it twice`;
      free.push({ index, name, type });
      segments.push(undefined);
      continue;
    }
    if (part.includes("*")) return 'a "*" can only stand at the end, as "/**"';
    if (part === "" && (index < parts.length - 1 || isPrefix)) return "it has an empty segment";
    const canonical = canonicalPath(`/${part}`);
    if (typeof canonical !== "string") return `no request can match it: ${canonical.fault}`;
    if (canonical !== `/${part}`) {
      return `it is not in canonical form; write ${JSON.stringify(canonical.slice(1))} for ${JSON.stringify(part)}`;
    }
    segments.push(decodeSegment(part));
  }
  return { text, segments, free, isPrefix };
}

/** Whether a decoded segment is of a type. An `int` has 1 to 19 digits. */
export function isOfType(segment: string, type: SegmentType): boolean {
  if (type === "int") return segment.length <= 19 && /^\d+$/.test(segment);
  if (type === "uuid") return segment.length === 36 && /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(segment);
  return segment !== "";
}

/**
 * A segment as services see it. Routes are matched on this, so that no spelling of a segment slips past a route that names
 * it: `/users/%40me` is `/users/@me`. Segments are split before, and a canonical path has no escaped slash.
 */
export function decodeSegment(segment: string): string {
  return segment.includes("%") ? decodeURIComponent(segment) : segment;
}

function isType(text: string): text is SegmentType {
  return types.has(text);
}
