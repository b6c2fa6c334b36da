/** What a header or a parameter of the query must be, as the document says it. */
export type ValueRule =
  /** This value exactly. */
  | string
  /** Whether it must be there, or must not. */
  | boolean
  /** How the value begins and ends. */
  | { readonly prefix?: string | undefined; readonly suffix?: string | undefined };

export type ValueRules = Readonly<Record<string, ValueRule>>;

/** What a route asks of a request beside host, path and method. */
export interface Conditions {
  /** By lower-case name. */
  readonly headers: readonly (readonly [name: string, rule: ValueRule])[];
  readonly query: readonly (readonly [name: string, rule: ValueRule])[];
}

/** What of a request conditions look at. */
export interface RequestFacts {
  /** Name and value by turns, as far as they may be forwarded. */
  readonly headers: readonly string[];
  /** With its `?`, or empty. */
  readonly query: string;
}

/** @returns Undefined when there are none. */
export function toConditions(headers: ValueRules | undefined, query: ValueRules | undefined): Conditions | undefined {
  const both = { headers: Object.entries(headers ?? {}), query: Object.entries(query ?? {}) };
  return both.headers.length + both.query.length === 0 ? undefined : both;
}

/** Takes time by the length of the request alone: rules are compared from either end of a value, and never searched for in it. */
export function isMet({ headers, query }: Conditions, facts: RequestFacts): boolean {
  for (const [name, rule] of headers) if (!fits(rule, headerOf(facts.headers, name))) return false;
  if (query.length === 0) return true;
  const parameters = new URLSearchParams(facts.query);
  return query.every(([name, rule]) => fits(rule, parameters.get(name) ?? undefined));
}

/** Whether no request can meet both. */
export function areDisjoint(one: Conditions, other: Conditions): boolean {
  return excludes(one.headers, other.headers) || excludes(one.query, other.query);
}

function fits(rule: ValueRule, value: string | undefined): boolean {
  if (typeof rule === "boolean") return rule === (value !== undefined);
  if (value === undefined) return false;
  if (typeof rule === "string") return value === rule;
  const { prefix = "", suffix = "" } = rule;
  return value.length >= prefix.length + suffix.length && value.startsWith(prefix) && value.endsWith(suffix);
}

/** The lines of one name are one list. @see https://www.rfc-editor.org/rfc/rfc9110#section-5.3 */
export function headerOf(headers: readonly string[], name: string): string | undefined {
  let found: string | undefined;
  for (let at = 0; at < headers.length; at += 2) {
    const own = headers[at];
    if (own?.length !== name.length || own.toLowerCase() !== name) continue;
    const value = headers[at + 1] ?? "";
    found = found === undefined ? value : `${found}, ${value}`;
  }
  return found;
}

/** The first cookie of the name. */
export function cookieIn(headers: readonly string[], name: string): string | undefined {
  for (const pair of headerOf(headers, "cookie")?.split(/[;,]/) ?? []) {
    const equals = pair.indexOf("=");
    if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
  }
  return undefined;
}

function excludes(rules: Conditions["headers"], others: Conditions["headers"]): boolean {
  return rules.some(([name, rule]) => others.some(([twin, other]) => twin === name && neverBoth(rule, other)));
}

function neverBoth(one: ValueRule, other: ValueRule): boolean {
  if (typeof one === "boolean") return !fits(one, typeof other === "boolean" ? presence(other) : "");
  if (typeof other === "boolean") return !other;
  if (typeof one === "string") return !fits(other, one);
  if (typeof other === "string") return !fits(one, other);
  return !isStart(one.prefix ?? "", other.prefix ?? "") || !isEnd(one.suffix ?? "", other.suffix ?? "");
}

function presence(isThere: boolean): string | undefined {
  return isThere ? "" : undefined;
}

function isStart(one: string, other: string): boolean {
  return one.startsWith(other) || other.startsWith(one);
}

function isEnd(one: string, other: string): boolean {
  return one.endsWith(other) || other.endsWith(one);
}
