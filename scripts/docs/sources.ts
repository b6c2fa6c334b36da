// The modules of the packages as tokens, without tests, test kits and generated code.
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Token, readTokens } from "../layers/tokens.ts";

export interface Source {
  /** Its package's folder in `pkg`: `kernel`. */
  readonly owner: string;
  /** From the repository's root, with slashes. */
  readonly file: string;
  readonly tokens: readonly Token[];
  /** `pkg/kernel/src/clock.ts:12`, of the token at `index`. */
  readonly placeOf: (index: number) => string;
}

/** @throws Error when there is nothing to read: a check of nothing would pass. */
export function readSources(root: string): Source[] {
  const files = globSync("pkg/*/src/**/*.ts", { cwd: root }).map((file) => file.replaceAll("\\", "/"));
  const own = files.filter((file) => !/\.test\.ts$|\/(testing|gen)\//.test(file)).toSorted();
  if (own.length === 0) throw new Error(`no modules in ${root}/pkg/*/src; is this the repository?`);
  return own.map((file) => toSource(file, readFileSync(join(root, file), "utf8")));
}

export function toSource(file: string, text: string): Source {
  const tokens = readTokens(text);
  const placeOf = (index: number): string => `${file}:${text.slice(0, tokens[index]?.start).split("\n").length}`;
  return { owner: file.split("/")[1] ?? "", file, tokens, placeOf };
}

/** Whether `values` stand in a row from `at` on. */
export function standsAt(tokens: readonly Token[], at: number, ...values: readonly string[]): boolean {
  return at >= 0 && values.every((value, offset) => tokens[at + offset]?.value === value);
}

/** Where the expression that begins at `at` ends: at the next comma, semicolon or closing bracket that is not inside it. */
export function endOfExpression(tokens: readonly Token[], at: number): number {
  let depth = 0;
  for (let index = at; index < tokens.length; index += 1) {
    const { kind, value } = tokens[index] ?? { kind: "name", value: "" };
    if (kind !== "punctuator") continue;
    if (depth === 0 && ",;)]}".includes(value)) return index;
    if ("([{".includes(value)) depth += 1;
    if (")]}".includes(value)) depth -= 1;
  }
  return tokens.length;
}

export type Expression = readonly Token[];

/** The items of the list, or the arguments of the call, whose bracket stands at `open`. */
export function itemsAt(tokens: readonly Token[], open: number): Expression[] {
  const items: Expression[] = [];
  for (let at = open + 1; at < tokens.length;) {
    const end = endOfExpression(tokens, at);
    if (end > at) items.push(tokens.slice(at, end));
    if (tokens[end]?.value !== ",") break;
    at = end + 1;
  }
  return items;
}
