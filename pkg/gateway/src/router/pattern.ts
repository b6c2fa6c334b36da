import { canonicalPath } from "../path.ts";

/** A path pattern of a route, read. */
export interface Pattern {
  /** As it was written: what `http.route` shows. */
  readonly text: string;
  /** Decoded literal, or undefined for one segment of any value. */
  readonly segments: readonly (string | undefined)[];
  /** Whether everything below matches as well: it ended in `/**`. */
  readonly isPrefix: boolean;
}

/**
 * Reads `/notes`, `/notes/:id` or `/hello/**`. A trailing slash counts: `/notes/` is another path than `/notes`.
 * @returns What is wrong, as text, when it cannot be read.
 */
export function parsePattern(text: string): Pattern | string {
  if (!text.startsWith("/")) return "expected a path that begins with /";
  const isPrefix = text.endsWith("/**");
  const parts = (isPrefix ? text.slice(0, -3) : text).split("/").slice(1);
  const names = new Set<string>();
  const segments: (string | undefined)[] = [];
  for (const [index, part] of parts.entries()) {
    if (part.startsWith(":")) {
      if (!/^:[A-Za-z_]\w*$/.test(part)) return `":name" expected, letters, digits and _, not ${JSON.stringify(part)}`;
      if (names.has(part)) return `${JSON.stringify(part)} stands in it twice`;
      names.add(part);
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
  return { text, segments, isPrefix };
}

/**
 * A segment as services see it. Routes are matched on this, so that no spelling of a segment slips past a route that names
 * it: `/users/%40me` is `/users/@me`. Segments are split before, and a canonical path has no escaped slash.
 */
export function decodeSegment(segment: string): string {
  return segment.includes("%") ? decodeURIComponent(segment) : segment;
}
