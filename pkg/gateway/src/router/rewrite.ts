import { canonicalPath } from "../path.ts";
import { type Pattern, parsePattern } from "./pattern.ts";

/** A path for the service, made of text and of segments of the client's path. */
export interface PathTemplate {
  /** Literal segments as they are sent, and where in the client's path the others stand, from 0. */
  readonly parts: readonly (string | number)[];
  /** From which segment on the rest of the client's path follows; -1: it does not. */
  readonly restFrom: number;
}

/**
 * Reads `/v2/:id/x` or `/v2/:id/**` for a pattern that has these names.
 * @returns What is wrong, as text, when it cannot be read.
 */
export function parseRewrite(text: string, pattern: Pattern): PathTemplate | string {
  const parsed = parsePattern(text);
  if (typeof parsed === "string") return `${JSON.stringify(text)}: ${parsed}`;
  if (parsed.isPrefix && !pattern.isPrefix) return `${JSON.stringify(text)} ends in /**, which the pattern does not`;
  const parts: (string | number)[] = text.split("/").slice(1, parsed.segments.length + 1);
  for (const { index, name, type } of parsed.free) {
    const own = pattern.free.find((free) => free.name === name);
    if (!own) return `the pattern has no ":${name}"`;
    if (type !== "any") return `write ":${name}" without its type`;
    parts[index] = own.index;
  }
  return { parts, restFrom: parsed.isPrefix ? pattern.segments.length : -1 };
}

/**
 * The path that the service gets by a template.
 * @param path - Canonical, and matched by the template's pattern.
 * @returns Undefined when the result would not be canonical.
 */
export function applyRewrite({ parts, restFrom }: PathTemplate, path: string): string | undefined {
  const segments = path.split("/").slice(1);
  let rewritten = "";
  for (const part of parts) rewritten += `/${typeof part === "string" ? part : (segments[part] ?? "")}`;
  if (restFrom >= 0) for (const segment of segments.slice(restFrom)) rewritten += `/${segment}`;
  rewritten ||= "/";
  return canonicalPath(rewritten) === rewritten ? rewritten : undefined;
}
