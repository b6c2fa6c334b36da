/** Longer headers are dropped unread, in characters. */
const maxRead = 8_192;
/** What is passed on of one header, in characters. */
const maxKept = 512;
/** Members of one header; more make it invalid. */
const maxMembers = 32;
/** Where something must go, members longer than this go first, in characters. */
const largeMember = 128;

const member =
  /^(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]$/;

/**
 * Reads a `tracestate` header: what the tracing systems on the way keep with a trace, passed on as it came. It is never read here.
 *
 * @param header - All lines of it, joined by commas. Above 8192 characters it is dropped unread.
 * @returns At most 32 members and 512 characters: of more characters, members above 128 go first, then those at the end.
 *   Undefined for a header that is absent, empty, or that the specification tells to drop: a malformed member, or 33 of them.
 * @see https://www.w3.org/TR/trace-context/#tracestate-header
 */
export function parseTracestate(header: string | undefined): string | undefined {
  if (header === undefined || header === "" || header.length > maxRead) return undefined;
  const members = new Map<string, string>();
  for (let start = 0; start <= header.length;) {
    const comma = header.indexOf(",", start);
    const end = comma < 0 ? header.length : comma;
    const text = trimmed(header, start, end);
    start = end + 1;
    if (text === "") continue; // allowed, and no member
    if (members.size === maxMembers || !member.test(text)) return undefined;
    const key = text.slice(0, text.indexOf("="));
    if (!members.has(key)) members.set(key, text); // the first is the newest
  }
  return members.size === 0 ? undefined : shortened([...members.values()]);
}

function shortened(members: readonly string[]): string | undefined {
  const whole = members.join(",");
  if (whole.length <= maxKept) return whole;
  const kept = [...members];
  let length = whole.length;
  for (let index = kept.length - 1; index >= 0 && length > maxKept; index--) {
    const { length: own } = kept[index] ?? "";
    if (own <= largeMember) continue;
    kept.splice(index, 1);
    length -= own + 1;
  }
  while (length > maxKept) length -= (kept.pop() ?? "").length + 1;
  return kept.length === 0 ? undefined : kept.join(",");
}

/** The part of a header between two delimiters, without spaces and tabs around it. */
export function trimmed(header: string, start: number, end: number): string {
  let from = start;
  let to = end;
  while (from < to && isBlank(header.charCodeAt(from))) from++;
  while (to > from && isBlank(header.charCodeAt(to - 1))) to--;
  return header.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
