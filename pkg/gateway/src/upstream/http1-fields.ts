/** What a field of a reply's head says of its framing, or of its connection. */
export type FieldKind = "other" | "content-length" | "transfer-encoding" | "connection" | "keep-alive";

export interface FieldName {
  /** Lower case. */
  readonly name: string;
  readonly kind: FieldKind;
}

const kinds: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  ["content-length", "content-length"],
  ["transfer-encoding", "transfer-encoding"],
  ["connection", "connection"],
  ["keep-alive", "keep-alive"],
]);

/** Names seen so far as they were spelled. Bounded: junk names fill it once and are then worked out each time. */
const seen = new Map<string, FieldName>();
const maxSeen = 1_024;

/** @param spelled - In any case. */
export function fieldName(spelled: string): FieldName {
  const known = seen.get(spelled);
  if (known !== undefined) return known;
  const name = spelled.toLowerCase();
  const field = { name, kind: kinds.get(name) ?? "other" };
  if (seen.size < maxSeen && spelled.length <= 64) seen.set(spelled, field);
  return field;
}

/** By character code: 1 where a name may have it. RFC 9110, 5.6.2. */
export const isTokenCode = tableOf(/[\w!#$%&'*+.^`|~-]/);
/** By character code: 1 where a value may have it. RFC 9110, 5.5. */
export const isTextCode = tableOf(/[\t\u0020-\u007e\u0080-\u00ff]/);
const notText = /[^\t\u0020-\u007e\u0080-\u00ff]/;
const token = /^[\w!#$%&'*+.^`|~-]+$/;

/** Names and methods seen so far that may be written. Bounded as those above. */
const tokens = new Set<string>();

export function isToken(text: string): boolean {
  if (tokens.has(text)) return true;
  if (!token.test(text)) return false;
  if (tokens.size < maxSeen && text.length <= 64) tokens.add(text);
  return true;
}

export const isFieldText = (text: string): boolean => !notText.test(text);
export const isTarget = (text: string): boolean => /^[\u0021-\u007e]+$/.test(text);

function tableOf(characters: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_none, code) => (characters.test(String.fromCharCode(code)) ? 1 : 0));
}
