import { claimsIn, fillTemplate, parseTemplate, type Template, type TemplateFacts } from "./template.ts";

/** What a route's document says of the headers one way. */
export interface HeaderRulesConfig {
  readonly set?: Readonly<Record<string, string>> | undefined;
  readonly add?: Readonly<Record<string, string>> | undefined;
  readonly remove?: readonly string[] | undefined;
}

/** The same, read. */
export interface HeaderRules {
  /** Lower-case names of lines that go: removed ones, and those that are set anew. */
  readonly drop: ReadonlySet<string>;
  readonly values: readonly (readonly [name: string, template: Template])[];
}

/** What becomes of one head: which lines go, and which come, name and value by turns. */
export interface HeaderEdits {
  readonly drop: ReadonlySet<string>;
  readonly lines: readonly string[];
}

/** Rules that were checked before. @returns Undefined when there are none. */
export function toHeaderRules(config: HeaderRulesConfig | undefined): HeaderRules | undefined {
  const { set = {}, add = {}, remove = [] } = config ?? {};
  const values = [...Object.entries(set), ...Object.entries(add)].flatMap(([name, text]) => {
    const template = parseTemplate(text);
    return typeof template === "string" ? [] : [[name, template] as const];
  });
  const drop = new Set([...remove, ...Object.keys(set)]);
  return drop.size + values.length === 0 ? undefined : { drop, values };
}

/** Claims that values name. */
export function claimsOfRules(config: HeaderRulesConfig | undefined): string[] {
  return [...Object.values(config?.set ?? {}), ...Object.values(config?.add ?? {})].flatMap(claimsIn);
}

/**
 * Fills the rules in for one request. A value that names a claim which the token lacks is left out; what stood there before goes all the same.
 * @returns Undefined when a value holds what no header may: a line break, NUL or another control character, or too much.
 */
export function fillRules({ drop, values }: HeaderRules, facts: TemplateFacts): HeaderEdits | undefined {
  const lines: string[] = [];
  for (const [name, template] of values) {
    const value = fillTemplate(template, facts);
    if (value === null) return undefined;
    if (value !== undefined) lines.push(name, value);
  }
  return { drop, lines };
}

/** Changes a head in place. @param headers - Name and value by turns. */
export function edit(headers: string[], { drop, lines }: HeaderEdits): void {
  let kept = 0;
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] ?? "";
    if (drop.has(name.toLowerCase())) continue;
    headers[kept] = name;
    headers[kept + 1] = headers[at + 1] ?? "";
    kept += 2;
  }
  headers.length = kept;
  headers.push(...lines);
}
