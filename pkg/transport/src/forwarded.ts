/**
 * The elements of a Forwarded header, from the left, each with its parameters by name in lower case.
 *
 * @returns undefined when it is not well formed: where a quoted text that is left open ends, and with it which element is
 * whose, would be a guess.
 * @see https://www.rfc-editor.org/rfc/rfc7239#section-4
 */
export function forwardedElements(text: string): readonly ReadonlyMap<string, string>[] | undefined {
  const elements: Map<string, string>[] = [];
  let element = new Map<string, string>();
  pair.lastIndex = 0;
  while (pair.lastIndex < text.length) {
    const found = pair.exec(text);
    if (!found) return undefined;
    const [, name, bare, quoted, separator] = found;
    if (name !== undefined) {
      const key = name.toLowerCase();
      if (element.has(key)) return undefined; // which of the two would be another guess
      element.set(key, bare ?? quoted?.replaceAll(/\\(.)/g, "$1") ?? "");
    }
    if (separator === ";") continue;
    elements.push(element);
    element = new Map();
  }
  if (element.size > 0) elements.push(element);
  return elements;
}

/** `name=value` or nothing, and what follows it. Each part begins where the one before has ended, so that it takes linear time. */
const pair = /[ \t]*(?:([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~:[\]-]+)|"((?:[^"\\]|\\.)*)")[ \t]*)?([;,]|$)/y;
