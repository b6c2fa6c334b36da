/** What may be told about a statement: nothing in it is a value. */
export interface StatementFacts {
  /** Its first word in capitals, from a small fixed set, else `OTHER`; also where it begins by reading and then writes. */
  readonly operation: string;
  /** The table, where there is one alone. */
  readonly collection: string | undefined;
  /** What a `call` calls. */
  readonly procedure: string | undefined;
  /** The operation, and the first table or the procedure where one is named: `SELECT notes`. */
  readonly summary: string;
  /** The text with `?` in place of each literal, without comments, at most {@link maxTextLength} characters. */
  readonly text: string;
  /** Whether something of it outlives its transaction: a setting, a temporary table, a lock. What a function does is not seen. */
  readonly changesSession: boolean;
}

const maxTextLength = 2_048;
const maxCached = 1_000;
const maxCachedLength = 10_000;

const operations = new Set(
  "SELECT INSERT UPDATE DELETE MERGE WITH BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE SET SHOW EXPLAIN CREATE ALTER DROP TRUNCATE GRANT REVOKE LOCK CALL VALUES COPY VACUUM ANALYZE".split(
    " ",
  ),
);
/** What changes nothing, so that losing the connection leaves no doubt. A function that a `SELECT` calls may; see the README. */
export const readsOnly: ReadonlySet<string> = new Set(["SELECT", "SHOW", "EXPLAIN", "BEGIN", "ROLLBACK", "SET"]);
const synonyms: Readonly<Record<string, string>> = { START: "BEGIN", END: "COMMIT", ABORT: "ROLLBACK" };

const name = String.raw`((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)`;
const table = new RegExp(
  String.raw`\b(from|into|update|join|table(?: if (?:not )?exists)?)\s+(?:only\s+)?${name}(\s*\()?`,
  "gi",
);
/** Tables that stand in one list, which are more than one. */
const listed = new RegExp(String.raw`\bfrom\s+${name}(?:\s+(?:as\s+)?\w+)?\s*,`, "i");
const called = new RegExp(String.raw`^call\s+${name}`, "i");
const maxNameLength = 120;

/** `set local` and `set transaction` end with the transaction, as a temporary table may. */
const sessionChanges =
  /^\s*(?:set\s+(?!local\b|transaction\b|constraints\b)|reset\b|discard\b|listen\b|load\b|prepare\b|declare\b.*\bwith hold\b|create (?:local |global )?temp(?:orary)?\b(?!.*\bon commit drop\b))|\bpg_(?:try_)?advisory_lock(?:_shared)? ?\(|\bset_config ?\((?:[^()]|\([^()]*\))*,(?!\s*true\b)[^,()]+\)/i;
/** In the part of a long text that is not read word by word. */
const laterChanges =
  /;\s*(?:set\s+(?!local\b|transaction\b|constraints\b)|reset\b|discard\b|listen\b|load\b|prepare\b)/i;

/** In the order in which they are tried at one place of the text. Each is sticky: it matches at its place or not at all. */
const tokens: readonly { readonly pattern: RegExp; readonly becomes: string | undefined }[] = [
  { pattern: /--[^\n]*/y, becomes: "" },
  { pattern: /"(?:[^"]|"")*"?/y, becomes: undefined },
  { pattern: /(?:[bxn]|u&)?'(?:[^']|'')*'?/iy, becomes: "?" },
  { pattern: /e'(?:[^'\\]|''|\\[^])*'?/iy, becomes: "?" },
  { pattern: /\$\d+/y, becomes: undefined },
  { pattern: /(\$(?:[a-z_]\w*)?\$)[^]*?(?:\1|$)/iy, becomes: "?" },
  { pattern: /[a-z_\u0080-\uffff][\w$\u0080-\uffff]*/iy, becomes: undefined },
  { pattern: /(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:e[+-]?\d+)?\w*/iy, becomes: "?" },
  { pattern: /\s+/y, becomes: " " },
];

/**
 * Keeps what is made of the facts of statements by their text, since a service runs a few texts many times.
 * A service whose texts never end (lists of every length) starts over at 1_000 texts.
 */
export function statementReader<T>(make: (facts: StatementFacts) => T): (sql: string) => T {
  const cache = new Map<string, T>();
  return (sql) => {
    const known = cache.get(sql);
    if (known !== undefined) return known;
    if (cache.size >= maxCached) cache.clear();
    const made = make(readStatement(sql));
    if (sql.length <= maxCachedLength) cache.set(sql, made);
    return made;
  };
}

/** Reads one statement. A text that ends inside a literal, for instance because it was cut, hides that literal as well. */
export function readStatement(sql: string): StatementFacts {
  const text = withoutValues(sql.slice(0, maxTextLength));
  const first = operationOf(text);
  // A lost connection leaves a doubt then, which the first word would hide.
  const writesToo = readsOnly.has(first) && !(changesNothing(text) && changesNothing(sql.slice(maxTextLength)));
  const operation = writesToo ? "OTHER" : first;
  const procedure = operation === "CALL" ? shortName(called.exec(text)?.[1]) : undefined;
  const tables = operation === "OTHER" ? [] : Array.from(text.matchAll(table), tableIn).filter((name) => name !== "");
  const [one] = tables;
  const isAlone = tables.every((other) => other === one) && !listed.test(text) && operation !== "WITH";
  const target = procedure ?? one;
  return {
    operation,
    collection: isAlone ? one : undefined,
    procedure,
    summary: target === undefined ? operation : `${operation} ${target}`,
    text,
    changesSession:
      text.split(";").some((part) => sessionChanges.test(part)) || laterChanges.test(sql.slice(maxTextLength)),
  };
}

function operationOf(text: string): string {
  const word = /^[a-z]+/i.exec(text.replace(/^[\s(]+/, ""))?.[0].toUpperCase() ?? "";
  return synonyms[word] ?? (operations.has(word) ? word : "OTHER");
}

/** Of a text that begins with what {@link readsOnly} holds: whether all that follows in it is such as well. */
function changesNothing(text: string): boolean {
  const [first = "", ...others] = text.split(";");
  if (/^\s*explain\b.*\banaly[sz]e\b|^[\s(]*select\b.*(?<!["\w])into\s/is.test(first)) return false;
  return others.every((part) => part.trim() === "" || (readsOnly.has(operationOf(part)) && changesNothing(part)));
}

/** Empty for a function that rows are taken from. */
function tableIn([, word = "", name, call]: RegExpExecArray): string {
  return call !== undefined && /^(?:from|join)$/i.test(word) ? "" : (shortName(name) ?? "");
}

function shortName(name: string | undefined): string | undefined {
  return name?.replaceAll('"', "").slice(0, maxNameLength);
}

/** A statement's text with `?` in place of each literal, without comments. */
export function withoutValues(sql: string): string {
  let result = "";
  for (let at = 0; at < sql.length;) {
    if (sql.startsWith("/*", at)) {
      at = endOfComment(sql, at);
      continue;
    }
    const token = tokenAt(sql, at);
    result += token?.becomes ?? sql.slice(at, token?.end ?? at + 1);
    at = token?.end ?? at + 1;
  }
  return result.replaceAll(/ {2,}/g, " ").trim();
}

function tokenAt(sql: string, at: number): { readonly end: number; readonly becomes: string | undefined } | undefined {
  for (const { pattern, becomes } of tokens) {
    pattern.lastIndex = at;
    if (pattern.test(sql)) return { end: pattern.lastIndex, becomes };
  }
  return undefined;
}

/** PostgreSQL's comments nest. */
function endOfComment(sql: string, start: number): number {
  let depth = 0;
  for (let at = start; at < sql.length; at++) {
    if (sql.startsWith("/*", at)) {
      depth++;
      at++;
    } else if (sql.startsWith("*/", at)) {
      depth--;
      at++;
      if (depth === 0) return at + 1;
    }
  }
  return sql.length;
}
