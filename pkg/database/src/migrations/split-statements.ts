/**
 * What stands at one place of a text and holds no end of a statement, in the order in which they are tried. Each is sticky: it matches at
 * its place or not at all.
 */
const opaque: readonly RegExp[] = [
  /--[^\n]*/y,
  /"(?:[^"]|"")*"?/y,
  /e'(?:[^'\\]|''|\\[^])*'?/iy,
  /'(?:[^']|'')*'?/y,
  /(\$(?:[a-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)[^]*?(?:\1|$)/iy,
  /\$?[\w\u0080-\uffff][\w$\u0080-\uffff]*/y,
];

export interface SqlStatement {
  /** As it was written, without the semicolon. */
  readonly text: string;
  /** Without comments and with one space between words, in lower case, at most 80 characters: what kind of statement it is. */
  readonly head: string;
}

/** The statements of an SQL text, in order. Semicolons in literals, comments, dollar quotes, parentheses and bodies `begin atomic … end` end nothing. */
export function splitStatements(sql: string): readonly SqlStatement[] {
  const statements: SqlStatement[] = [];
  let [start, depth, head] = [0, 0, ""];
  /** How many `end` a body `begin atomic` has still to come. */
  let [ends, lastWord] = [0, ""];
  const end = (at: number): void => {
    const trimmed = head.replaceAll(/\s+/g, " ").trim().toLowerCase();
    if (trimmed !== "") statements.push({ text: sql.slice(start, at).trim(), head: trimmed.slice(0, 80) });
    [start, depth, head] = [at + 1, 0, ""];
    [ends, lastWord] = [0, ""];
  };
  for (let at = 0; at < sql.length;) {
    const next = tokenEnd(sql, at);
    const text = sql.slice(at, next);
    if (text === "(") depth++;
    if (text === ")") depth--;
    if (/^[a-z]/i.test(text)) {
      const word = text.toLowerCase();
      if ((word === "atomic" && lastWord === "begin") || (word === "case" && ends > 0)) ends++;
      if (word === "end" && ends > 0) ends--;
      lastWord = word;
    }
    if (text === ";" && depth <= 0 && ends === 0) end(at);
    else if (head.length < 200) head += text.startsWith("--") || text.startsWith("/*") ? " " : text;
    at = next;
  }
  end(sql.length);
  return statements;
}

function tokenEnd(sql: string, at: number): number {
  if (sql.startsWith("/*", at)) return endOfComment(sql, at);
  for (const pattern of opaque) {
    pattern.lastIndex = at;
    if (pattern.test(sql)) return pattern.lastIndex;
  }
  return at + 1;
}

/** PostgreSQL's comments nest. */
function endOfComment(sql: string, start: number): number {
  const edge = /\/\*|\*\//g;
  edge.lastIndex = start;
  let depth = 0;
  for (let found = edge.exec(sql); found; found = edge.exec(sql)) {
    depth += found[0] === "/*" ? 1 : -1;
    if (depth === 0) return edge.lastIndex;
  }
  return sql.length;
}
