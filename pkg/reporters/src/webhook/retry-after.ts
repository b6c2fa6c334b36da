/**
 * How long an answer asks to wait, in milliseconds, 0 or more; undefined when it does not, or cannot be understood.
 *
 * @param header - `Retry-After`: seconds, or a date.
 * @param now - Milliseconds since the Unix epoch.
 * @see RFC 9110, 10.2.3
 * @example parseRetryAfter("120", Date.now()) // 120_000
 */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? "";
  if (/^\d+$/.test(text)) return Number(text) * 1_000;
  // a date begins with the name of its day: what Date.parse makes of other texts nobody meant
  const atMs = /^[A-Za-z]/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - now);
}
