import type { DescField, DescMessage, JsonValue } from "@bufbuild/protobuf";
import { isInexact, parseExact } from "./exact-numbers.ts";
import { RequestFault } from "./request-fault.ts";

const decoder = new TextDecoder("utf-8", { fatal: true });
const [quote, backslash] = [0x22, 0x5c];

/**
 * Reads JSON, and loses no digit of a whole number.
 * @param options.at - What of the contract it is for.
 * @param options.maxDepth - Objects and lists within each other.
 * @param options.takesAnyJson - Text in a number's place would be taken for text: such a number is refused.
 */
export function parseJson(
  bytes: Buffer,
  options: { readonly at: DescMessage | DescField; readonly maxDepth: number; readonly takesAnyJson: boolean },
): JsonValue {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw new RequestFault("the body is not UTF-8");
  }
  const hasInexact = lookOver(text, options);
  let value: unknown;
  try {
    value = hasInexact ? parseExact(text, options.at) : JSON.parse(text);
  } catch (error) {
    throw error instanceof RequestFault ? error : new RequestFault("the body is not JSON");
  }
  if (!isJson(value)) throw new RequestFault("the body is not JSON");
  return value;
}

/** Goes over the text once, before anything is made of it. @returns Whether it has a number that JavaScript has none for. */
function lookOver(
  text: string,
  { maxDepth, takesAnyJson }: { readonly maxDepth: number; readonly takesAnyJson: boolean },
): boolean {
  let depth = 0;
  let hasInexact = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfText(text, at);
    else if (code === 0x7b || code === 0x5b) {
      if (++depth > maxDepth) throw new RequestFault(`the body is deeper than ${maxDepth} objects and lists`);
    } else if (code === 0x7d || code === 0x5d) depth--;
    else if (code === 0x2d || (code >= 0x30 && code <= 0x39)) {
      const end = endOfNumber(text, at);
      if (end - at > 15 && isInexact(text.slice(at, end))) {
        if (takesAnyJson) throw new RequestFault("a number has more digits than JSON keeps; write it as text");
        hasInexact = true;
      }
      at = end - 1;
    }
  }
  return hasInexact;
}

/** Where the quote stands that ends a text. */
function endOfText(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let escapes = 0;
    while (text.charCodeAt(at - 1 - escapes) === backslash) escapes++;
    if (escapes % 2 === 0) return at;
  }
  return text.length;
}

function endOfNumber(text: string, start: number): number {
  let end = start + 1;
  while (end < text.length && /[\d.eE+-]/.test(text.charAt(end))) end++;
  return end;
}

function isJson(value: unknown): value is JsonValue {
  return value !== undefined;
}
