/** Longest text of a client in logs and spans. */
const maxTextLength = 256;

/** A text of a client, as much of it as logs and spans take. */
export function capped<Text extends string | undefined>(text: Text): Text | string {
  return text !== undefined && text.length > maxTextLength ? text.slice(0, maxTextLength) : text;
}
