// Finds every module that a TypeScript source names: imports, exports from, import(), types, require and worker URLs.
import { type Token, readTokens } from "./tokens.ts";

export interface ImportSite {
  /** What is imported, as written; undefined where it is computed, so that nobody can check it. */
  readonly specifier: string | undefined;
  /** Whether the import vanishes when types are erased. */
  readonly typeOnly: boolean;
  /** From 1. */
  readonly line: number;
  /** Where the quoted specifier stands in the source, quotes included. */
  readonly start: number;
  readonly end: number;
}

type Found = Omit<ImportSite, "line">;

/** The imports of `source` in the order they are written. */
export function findImports(source: string): ImportSite[] {
  const tokens = readTokens(source);
  const sites: ImportSite[] = [];
  let line = 1;
  let counted = 0;
  for (let index = 0; index < tokens.length; index += 1) {
    const found = importAt(tokens, index);
    if (found === undefined) continue;
    line += source.slice(counted, found.start).split("\n").length - 1;
    counted = found.start;
    sites.push({ ...found, line });
  }
  return sites;
}

/** The source with every specifier replaced by what `replace` makes of it. */
export function replaceSpecifiers(source: string, replace: (specifier: string) => string): string {
  let result = "";
  let copied = 0;
  for (const { specifier, start, end } of findImports(source)) {
    if (specifier === undefined) continue;
    result += source.slice(copied, start) + JSON.stringify(replace(specifier));
    copied = end;
  }
  return result + source.slice(copied);
}

function importAt(tokens: readonly Token[], index: number): Found | undefined {
  const token = tokens[index];
  if (token?.kind !== "name" || tokens[index - 1]?.value === ".") return undefined;
  const next = tokens[index + 1];
  switch (token.value) {
    case "import":
      if (next?.value === "(") return callAt(tokens, index, tokens[index - 1]?.value === "typeof");
      if (next?.value === "." && next.kind === "punctuator") return resolveAt(tokens, index);
      return next?.kind === "text" ? site(next, false) : clauseAt(tokens, index);
    case "export":
      return exportAt(tokens, index);
    case "require":
      return next?.value === "(" ? callAt(tokens, index, false) : requireAt(tokens, index + 1);
    case "createRequire":
      return requireAt(tokens, index + madeFrom.length + 1);
    case "new":
      return urlAt(tokens, index);
    default:
      return undefined;
  }
}

function site(token: Token, typeOnly: boolean): Found {
  return { specifier: token.value, typeOnly, start: token.start, end: token.end };
}

/** `import(…)` and `require(…)`: one literal, or something computed. */
function callAt(tokens: readonly Token[], index: number, typeOnly: boolean): Found | undefined {
  const argument = tokens[index + 2];
  const after = tokens[index + 3];
  if (argument === undefined) return undefined;
  // A method of that name, `import(path: string) {…}`, is no call.
  if (argument.kind === "name" && after?.value === ":") return undefined;
  if (argument.kind === "text" && (after?.value === ")" || after?.value === ",")) return site(argument, typeOnly);
  return { specifier: undefined, typeOnly, start: argument.start, end: argument.end };
}

const madeFrom = ["(", "import", ".", "meta", ".", "url", ")"];

/** What follows a require function at `at`: `createRequire(import.meta.url)("…")`, `require.resolve("…")`. */
function requireAt(tokens: readonly Token[], at: number): Found | undefined {
  const resolves = tokens[at]?.value === "." && tokens[at + 1]?.value === "resolve";
  const open = resolves ? at + 2 : at;
  const argument = tokens[open + 1];
  return tokens[open]?.value === "(" && argument?.kind === "text" ? site(argument, false) : undefined;
}

/** `import.meta.resolve("…")`. */
function resolveAt(tokens: readonly Token[], index: number): Found | undefined {
  const [meta, , resolve, open, argument] = tokens.slice(index + 2, index + 7);
  const isCall = meta?.value === "meta" && resolve?.value === "resolve" && open?.value === "(";
  return isCall && argument?.kind === "text" ? site(argument, false) : undefined;
}

/** `new URL("./worker.ts", import.meta.url)`: the way to name a module for a worker. */
function urlAt(tokens: readonly Token[], index: number): Found | undefined {
  const written = tokens.slice(index, index + 11).map(({ value }) => value);
  const argument = tokens[index + 3];
  const expected = ["new", "URL", "(", undefined, ",", "import", ".", "meta", ".", "url", ")"];
  const fits = expected.every((value, at) => value === undefined || value === written[at]);
  return fits && argument?.kind === "text" && argument.value.endsWith(".ts") ? site(argument, false) : undefined;
}

/** `import type { A } from "…"`, `import a, { b } from "…"`, `import * as c from "…"`, `import d = require("…")`. */
function clauseAt(tokens: readonly Token[], index: number): Found | undefined {
  let at = index + 1;
  const typeOnly = isTypeWord(tokens, at);
  if (typeOnly) at += 1;
  // A key or a method of that name is followed by neither a name, a brace nor a star.
  const first = tokens[at];
  if (first === undefined || !(first.kind === "name" || first.value === "{" || first.value === "*")) return undefined;
  for (; at < tokens.length; at += 1) {
    const token = tokens[at];
    const next = tokens[at + 1];
    if (token?.value === ";" || token?.value === "(") return undefined;
    // `require` is a call of its own and is found as one.
    if (token?.value === "=") return undefined;
    if (token?.kind === "name" && token.value === "from" && next?.kind === "text") return site(next, typeOnly);
  }
  return undefined;
}

/** `export * from "…"`, `export * as a from "…"`, `export { b } from "…"`, each with `type` or without. */
function exportAt(tokens: readonly Token[], index: number): Found | undefined {
  let at = index + 1;
  const typeOnly = isTypeWord(tokens, at);
  if (typeOnly) at += 1;
  if (tokens[at]?.value === "{") {
    while (at < tokens.length && tokens[at]?.value !== "}") at += 1;
  } else if (tokens[at]?.value !== "*") {
    return undefined;
  } else if (tokens[at + 1]?.value === "as") {
    at += 2;
  }
  const specifier = tokens[at + 2];
  return tokens[at + 1]?.value === "from" && specifier?.kind === "text" ? site(specifier, typeOnly) : undefined;
}

/** Whether `type` at `at` is the keyword: `import type from "a"` imports a value of that name. */
function isTypeWord(tokens: readonly Token[], at: number): boolean {
  if (tokens[at]?.value !== "type") return false;
  const next = tokens[at + 1];
  if (next?.value === "{" || next?.value === "*") return true;
  if (next?.kind !== "name") return false;
  return next.value !== "from" || tokens[at + 2]?.value === "from";
}
