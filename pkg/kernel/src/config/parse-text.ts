import { forbiddenKeys } from "./data.ts";
import type { Kind, Leaf } from "./leaves.ts";

export type Parsed = { readonly value: unknown } | { readonly problem: string };

/** The value that the text of a variable or an argument spells for this leaf, or what is wrong with it. */
export function parseText({ kinds, itemKinds, isSecret }: Leaf, text: string): Parsed {
  const given = isSecret ? "***" : JSON.stringify(text.slice(0, 100));
  // what the system gave as bytes that are no UTF-8 arrives so
  if (text.includes("\uFFFD")) return { problem: `expected UTF-8, got ${given}` };
  for (const kind of kinds) {
    const parsed = kind === "list" ? parseList(text, itemKinds) : parsers[kind](text);
    // which key it is would tell of what is secret
    if (parsed && "problem" in parsed && isSecret)
      return { problem: "a key stands twice or is never allowed, got ***" };
    if (parsed) return parsed;
  }
  return { problem: `expected ${kinds.map((kind) => expectations[kind]).join(", or ")}, got ${given}` };
}

const expectations: Readonly<Record<Kind, string>> = {
  list: "JSON or a comma-separated list",
  json: "JSON",
  boolean: "true or false",
  number: "a number",
  string: "text",
};

const parsers: Readonly<Record<Exclude<Kind, "list">, (text: string) => Parsed | undefined>> = {
  json: parseJson,
  string: (text) => ({ value: text }),
  boolean(text) {
    const trimmed = text.trim();
    if (trimmed === "true" || trimmed === "1") return { value: true };
    return trimmed === "false" || trimmed === "0" ? { value: false } : undefined;
  },
  number(text) {
    const trimmed = text.trim();
    if (!/^[+-]?\d+(_\d+)*(\.\d+)?(e[+-]?\d+)?$/i.test(trimmed)) return undefined;
    return { value: Number(trimmed.replaceAll("_", "")) };
  },
};

function parseJson(text: string): Parsed | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // the caller says what was expected
  }
  const problem = typeof value === "object" ? wrongKey(text) : undefined;
  return problem === undefined ? { value } : { problem };
}

function parseList(text: string, itemKinds: readonly Kind[]): Parsed | undefined {
  if (/^\s*[[{"]/.test(text)) return parseJson(text);
  const parts = text.split(",").map((part) => part.trim());
  const toValue = (part: string): unknown => {
    for (const kind of itemKinds) {
      const parsed = kind === "list" ? undefined : parsers[kind](part);
      if (parsed && "value" in parsed) return parsed.value;
    }
    return part; // the schema says what is wrong with it
  };
  return { value: parts.filter((part) => part !== "").map(toValue) };
}

/** What the parser of JSON passes over in a text that it takes: keys that stand twice, and those that are never allowed. */
function wrongKey(json: string): string | undefined {
  const open: Set<string>[] = [];
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (token.endsWith(":")) {
      const key: unknown = JSON.parse(token.slice(0, -1));
      if (typeof key !== "string") continue;
      if (forbiddenKeys.has(key)) return `the key ${JSON.stringify(key)} is never allowed`;
      if (open.at(-1)?.has(key)) return `the key ${JSON.stringify(key.slice(0, 100))} stands twice`;
      open.at(-1)?.add(key);
    }
  }
  return undefined;
}
