/**
 * Parses a JSON object, refusing a member that is given twice in it or in anything inside: two parsers may each take another
 * one, and then they disagree about who the caller is.
 *
 * @throws SyntaxError
 */
export function parseStrictObject(text: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(text);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new SyntaxError("expected a JSON object");
  refuseTwins(text);
  return { ...value };
}

/** @param text - Valid JSON. */
function refuseTwins(text: string): void {
  /** For each open bracket the keys so far, or undefined inside an array. */
  const open: (Set<unknown> | undefined)[] = [];
  let isKeyNext = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charAt(at)) {
      case "{":
        open.push(new Set());
        isKeyNext = true;
        break;
      case "[":
        open.push(undefined);
        isKeyNext = false;
        break;
      case "}":
      case "]":
        open.pop();
        break;
      case ",":
        isKeyNext = open.at(-1) !== undefined;
        break;
      case '"': {
        const end = endOfString(text, at);
        if (isKeyNext) {
          const key: unknown = JSON.parse(text.slice(at, end + 1)); // escapes spell the same key in many ways
          if (open.at(-1)?.has(key) === true) throw new SyntaxError("a member is given twice");
          open.at(-1)?.add(key);
          isKeyNext = false;
        }
        at = end;
        break;
      }
    }
  }
}

/** Where the string that begins at `start` has its closing quote. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}
