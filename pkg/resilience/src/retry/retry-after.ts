const secondsForm = /^\d{1,10}$/;
/** What RFC 9110 tells senders to write, and the two old forms that it tells receivers to read. */
const dateForms: readonly RegExp[] = [
  /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/,
  /^[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/,
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/,
];
const asctimeForm = 2;
/** Nobody means more than a day. */
const mostMs = 86_400_000;

/**
 * What a `Retry-After` header asks for: seconds, or a date.
 *
 * @param value - As it came; of several the first is to be given.
 * @param options.nowMs - The time by this machine's clock, in milliseconds since the Unix epoch.
 * @param options.date - The `Date` header of the same reply: a date is then counted from it, however wrong our clock or theirs is.
 * @returns Whole milliseconds from 0 to a day; 0 for a date that has passed; undefined when there is none or it cannot be read.
 * @see RFC 9110, 10.2.3: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
 * @example parseRetryAfterMs("2", { nowMs: Date.now() }) // 2000
 */
export function parseRetryAfterMs(
  value: string | undefined,
  options: { readonly nowMs: number; readonly date?: string | undefined },
): number | undefined {
  const text = value?.trim();
  if (text === undefined || text === "") return undefined;
  if (secondsForm.test(text)) return Math.min(mostMs, Number(text) * 1_000);
  const atMs = parseDateMs(text);
  if (atMs === undefined) return undefined;
  const fromMs = (options.date === undefined ? undefined : parseDateMs(options.date.trim())) ?? options.nowMs;
  return Math.min(mostMs, Math.max(0, Math.ceil(atMs - fromMs)));
}

function parseDateMs(text: string): number | undefined {
  const form = dateForms.findIndex((one) => one.test(text));
  if (form < 0) return undefined;
  const ms = Date.parse(form === asctimeForm ? `${text} GMT` : text);
  return Number.isNaN(ms) ? undefined : ms;
}
