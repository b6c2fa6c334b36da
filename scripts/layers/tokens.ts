// Splits TypeScript into tokens, well enough to find its imports: it knows comments, strings, templates and regular expressions.

export interface Token {
  /** `text` is a string, or a template without substitutions; `template` is a piece of one that has some. */
  readonly kind: "name" | "text" | "template" | "number" | "regex" | "punctuator";
  /** As written; for `text`, what stands between the quotes, its escapes left as they are. */
  readonly value: string;
  /** Where the token starts, quote included. */
  readonly start: number;
  /** One past its end. */
  readonly end: number;
}

const space = /\s+/y;
const comment = /\/\/[^\n]*|\/\*[\s\S]*?\*\//y;
const name = /[\p{ID_Start}$_#@][\p{ID_Continue}$\u200c\u200d]*/uy;
const number = /(?:0[xXbBoO][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?)n?/y;
const text = /"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*'/y;
// A slash inside a character class does not end it.
const regex = /\/(?![*/])(?:[^\\/[\n]|\\[^\n]|\[(?:[^\\\]\n]|\\[^\n])*\])+\/[a-z]*/y;
const punctuator = /\.\.\.|=>|\+\+|--|[\s\S]/uy;

// After these words an expression begins, so a slash begins a regular expression.
const beforeExpression = new Set(
  "await case delete do else extends in instanceof new of return throw typeof void yield".split(" "),
);
// After the parenthesis of these a statement begins.
const withCondition = new Set(["if", "while", "for", "with"]);

/** The tokens of `source` without space and comments. Never throws: what it cannot read becomes single characters. */
export function readTokens(source: string): Token[] {
  return new Reader(source).read();
}

class Reader {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  /** For each open bracket, the word before it; a `${` is told from a `{` by "template". */
  readonly #open: string[] = [];
  #at = 0;
  /** Whether the last `)` closed the condition of a statement. */
  #afterCondition = false;

  constructor(source: string) {
    this.#source = source;
  }

  read(): Token[] {
    if (this.#source.startsWith("#!")) this.#at = this.#source.indexOf("\n") + 1 || this.#source.length;
    while (this.#at < this.#source.length) this.#next();
    return this.#tokens;
  }

  #next(): void {
    if (this.#skip(space) || this.#skip(comment)) return;
    const character = this.#source[this.#at];
    if (character === "`") return this.#template();
    if (character === "}" && this.#open.at(-1) === "template") {
      this.#open.pop();
      return this.#template();
    }
    if (this.#take("name", name) || this.#take("number", number)) return;
    if (this.#take("text", text)) return;
    if (character === "/" && this.#expressionMayBegin() && this.#take("regex", regex)) return;
    this.#punctuator();
  }

  #skip(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    if (!pattern.test(this.#source)) return false;
    this.#at = pattern.lastIndex;
    return true;
  }

  #take(kind: Token["kind"], pattern: RegExp): boolean {
    const start = this.#at;
    if (!this.#skip(pattern)) return false;
    const written = this.#source.slice(start, this.#at);
    this.#tokens.push({ kind, value: kind === "text" ? written.slice(1, -1) : written, start, end: this.#at });
    return true;
  }

  #punctuator(): void {
    const before = this.#tokens.at(-1)?.value ?? "";
    this.#take("punctuator", punctuator);
    const value = this.#tokens.at(-1)?.value;
    if (value === "(" || value === "[" || value === "{") this.#open.push(before);
    if (value === ")" || value === "]" || value === "}") {
      const opener = this.#open.pop() ?? "";
      this.#afterCondition = value === ")" && withCondition.has(opener);
    }
  }

  /** Reads on in a template from its opening quote, or from the brace that closes a substitution. */
  #template(): void {
    const start = this.#at;
    const opened = this.#source[start] === "`";
    for (this.#at += 1; this.#at < this.#source.length; this.#at += 1) {
      const character = this.#source[this.#at];
      if (character === "\\") {
        this.#at += 1;
      } else if (character === "`") {
        this.#at += 1;
        const value = this.#source.slice(start + 1, this.#at - 1);
        this.#tokens.push({ kind: opened ? "text" : "template", value, start, end: this.#at });
        return;
      } else if (character === "$" && this.#source[this.#at + 1] === "{") {
        this.#at += 2;
        this.#tokens.push({ kind: "template", value: "${", start, end: this.#at });
        this.#open.push("template");
        return;
      }
    }
  }

  /** Whether a slash here begins a regular expression; otherwise it divides. */
  #expressionMayBegin(): boolean {
    const last = this.#tokens.at(-1);
    if (last === undefined) return true;
    if (last.kind === "name") return beforeExpression.has(last.value) && this.#tokens.at(-2)?.value !== ".";
    if (last.kind === "template") return last.value === "${";
    if (last.kind !== "punctuator") return false;
    if (last.value === ")") return this.#afterCondition;
    if (last.value === "!") return !this.#endsValue(this.#tokens.at(-2));
    return last.value !== "]" && last.value !== "++" && last.value !== "--";
  }

  /** Tells `value!` from `!value`. */
  #endsValue(token: Token | undefined): boolean {
    if (token === undefined) return false;
    if (token.kind === "name") return !beforeExpression.has(token.value);
    return token.kind === "punctuator" ? token.value === ")" || token.value === "]" : true;
  }
}
