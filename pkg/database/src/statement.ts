/** What may be told about a statement: nothing in it is a value. */
export interface StatementFacts {
  /** Its first word in capitals, from a small fixed set, else `OTHER`. */
  readonly operation: string;
  /** The operation, and the first table where one is named: `SELECT notes`. */
  readonly summary: string;
  /** The text with `?` in place of each literal, without comments, at most {@link maxTextLength} characters. */
  readonly text: string;
}

const maxTextLength = 2_048;
const maxCached = 1_000;
const maxCachedLength = 10_000;

const operations = new Set(
  "SELECT INSERT UPDATE DELETE MERGE WITH BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE SET SHOW EXPLAIN CREATE ALTER DROP TRUNCATE GRANT REVOKE LOCK CALL VALUES COPY VACUUM ANALYZE".split(
    " ",
  ),
);
const synonyms: Readonly<Record<string, string>> = { START: "BEGIN", END: "COMMIT", ABORT: "ROLLBACK" };

const table =
  /\b(?:from|into|update|join|table(?: if (?:not )?exists)?)\s+((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)/i;

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
 * Keeps the facts of statements by their text, since a service runs a few texts many times.
 * A service whose texts never end (lists of every length) starts over at 1_000 texts.
 */
export function statementReader(): (sql: string) => StatementFacts {
  const cache = new Map<string, StatementFacts>();
  return (sql) => {
    const known = cache.get(sql);
    if (known) return known;
    if (cache.size >= maxCached) cache.clear();
    const facts = readStatement(sql);
    if (sql.length <= maxCachedLength) cache.set(sql, facts);
    return facts;
  };
}

/** Reads one statement. A text that ends inside a literal, for instance because it was cut, hides that literal as well. */
export function readStatement(sql: string): StatementFacts {
  const text = withoutValues(sql.slice(0, maxTextLength));
  const word = /^[a-z]+/i.exec(text.replace(/^[\s(]+/, ""))?.[0].toUpperCase() ?? "";
  const operation = synonyms[word] ?? (operations.has(word) ? word : "OTHER");
  const target = operation === "OTHER" ? undefined : table.exec(text)?.[1]?.replaceAll('"', "");
  return { operation, summary: target === undefined ? operation : `${operation} ${target.slice(0, 120)}`, text };
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
