import { parseTraceContext, type SpanContext } from "@plinth/kernel";

/**
 * The span that a stranger's request names: one to link to, and never to continue. Looks at names in the list that the parser has made,
 * as node's object of all headers would be made for this alone.
 *
 * @param rawHeaders - Names and values by turns.
 * @returns null without a `traceparent`, with several, and with one that is invalid.
 * @see https://www.w3.org/TR/trace-context/#traceparent-header
 */
export function strangerIn(rawHeaders: readonly string[]): SpanContext | null {
  let found: string | undefined;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at];
    if (name?.length !== traceparent.length || name.toLowerCase() !== traceparent) continue;
    if (found !== undefined) return null;
    found = rawHeaders[at + 1];
  }
  return (found === undefined ? undefined : parseTraceContext(found, undefined, false)) ?? null;
}

const traceparent = "traceparent";
