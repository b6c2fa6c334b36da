// docs/metrics.md, from every `.counter({…})`, `.gauge({…})` and `.histogram({…})` that is written in a package.
import type { Token } from "../layers/tokens.ts";
import { type Expression, type Source, endOfExpression, itemsAt, standsAt } from "./sources.ts";
import { code, toTable } from "./tables.ts";

const kinds: ReadonlySet<string> = new Set(["counter", "gauge", "histogram"]);

export function metricsPage(sources: readonly Source[]): string {
  const byOwner = Map.groupBy(sources.flatMap(findMetrics), ({ owner }) => owner);
  const sections = [...byOwner].map(([owner, metrics]) => {
    const rows = metrics
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, kind, labels, help }) => [code(name), kind, labels.map(code).join(", "), help]);
    return `## ${owner}\n\n${toTable(["name", "type", "labels", "help"], rows)}`;
  });
  return `# Metrics

What \`/metrics\` shows, by the package that declares it; an app has those of its modules. Units are base units. Labels hold route templates, method
names and other words of small fixed sets, never raw paths: what fits nowhere is \`unmatched\`, an unusual HTTP method is \`_OTHER\`.

Made from the declarations in \`pkg/*/src\` by \`npm run docs\`; change them there.

${sections.join("\n\n")}
`;
}

export interface Metric {
  readonly owner: string;
  readonly name: string;
  readonly kind: string;
  readonly labels: readonly string[];
  readonly help: string;
}

/** @throws Error with the place of a declaration that cannot be read. */
export function findMetrics({ owner, tokens, placeOf }: Source): Metric[] {
  return tokens.flatMap(({ kind: token, value: kind }, index): Metric[] => {
    if (token !== "name" || !kinds.has(kind) || tokens[index - 1]?.value !== ".") return [];
    if (!standsAt(tokens, index + 1, "(", "{")) return [];
    const fields = propertiesAt(tokens, index + 2);
    const isLiteral = fields.get("name")?.[0]?.kind === "text";
    const rows: readonly Row[] = isLiteral ? [new Map()] : loopAround(tokens, index);
    const metrics = rows.flatMap((row): Metric[] => {
      const [name] = textsOf(fields.get("name"), row);
      const [help] = textsOf(fields.get("help"), row);
      return name && help ? [{ owner, name, kind, labels: textsOf(fields.get("labels"), row), help }] : [];
    });
    if (metrics.length > 0 && metrics.length === rows.length) return metrics;
    const what = "name and help as plain strings, or as variables of a for-of loop over a literal table";
    throw new Error(`${placeOf(index)}: docs/metrics.md cannot be made from this ${kind}; write ${what}`);
  });
}

/** The variables of a loop, in one of its rounds. */
type Row = ReadonlyMap<string, string>;

/** The properties of the object literal whose brace stands at `open`. */
function propertiesAt(tokens: readonly Token[], open: number): Map<string, Expression> {
  const properties = new Map<string, Expression>();
  for (let at = open + 1; at < tokens.length;) {
    const end = endOfExpression(tokens, at);
    const start = tokens[at + 1]?.value === ":" ? at + 2 : at;
    const key = tokens[at]?.value;
    if (key !== undefined && end > at) properties.set(key, tokens.slice(start, end));
    if (tokens[end]?.value !== ",") break;
    at = end + 1;
  }
  return properties;
}

/** The strings that an expression spells: one, a list of them, or a variable of the loop. */
function textsOf(expression: Expression = [], row: Row): string[] {
  const [first, ...rest] = expression;
  const known = first?.kind === "name" && rest.length === 0 ? row.get(first.value) : undefined;
  if (known !== undefined) return [known];
  if (first?.kind === "text" && rest.length === 0) return [first.value];
  return first?.value === "[" ? rest.filter(({ kind }) => kind === "text").map(({ value }) => value) : [];
}

/** What the variables of the last `for (const [a, b] of table)` before `index` are in each round, where they are strings. */
function loopAround(tokens: readonly Token[], index: number): Row[] {
  const loop = tokens.findLastIndex((_, at) => at < index && standsAt(tokens, at, "for", "(", "const", "["));
  const names = itemsAt(tokens, loop + 3).map(([name]) => name?.value ?? "");
  const of = endOfExpression(tokens, loop + 3) - 2;
  const table = tokens[of + 1]?.value ?? "";
  const declared = tokens.findIndex((_, at) => loop >= 0 && standsAt(tokens, at, "const", table, "=", "["));
  if (declared < 0) return [];
  return itemsAt(tokens, declared + 3).map((round) => {
    const cells = itemsAt(round, 0).map((cell) => (cell.length === 1 && cell[0]?.kind === "text" ? cell[0].value : ""));
    return new Map(names.map((name, column) => [name, cells[column] ?? ""]));
  });
}
