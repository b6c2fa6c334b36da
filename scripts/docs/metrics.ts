// docs/metrics.md, from every `.counter({…})`, `.gauge({…})` and `.histogram({…})` that is written in a package.
import { unitOf } from "../../pkg/kernel/src/metrics/unit.ts";
import type { Token } from "../layers/tokens.ts";
import { LabelValues } from "./label-values.ts";
import { type Expression, type Source, endOfExpression, itemsAt, standsAt } from "./sources.ts";
import { code, toTable } from "./tables.ts";

const kinds: ReadonlySet<string> = new Set(["counter", "gauge", "histogram"]);

/** @throws Error when a label has no words on its values, or words are of no label. */
export function metricsPage(sources: readonly Source[]): string {
  const labelValues = new LabelValues();
  const byOwner = Map.groupBy(sources.flatMap(findMetrics), ({ owner }) => owner);
  const sections = [...byOwner].map(([owner, metrics]) => ownerSection(owner, metrics, labelValues));
  labelValues.requireAllUsed();
  return `# Metrics

What \`/metrics\` shows, by the package that declares it; an app has those of its modules. Units are base units, and the last word of a name. Labels
hold route templates, method names and other words of small fixed sets, never raw paths: what fits nowhere is \`unmatched\`, an unusual HTTP method is
\`_OTHER\`. A metric has at most 1 000 series; what comes later shares one whose labels are \`_overflow\`.

Scrapers that prefer OpenMetrics get it, with units and exemplars: the trace of a recent value beside its bucket, for the histograms marked so. Buckets
reach from half a millisecond to ten seconds where no others are named. Of several worker processes the values add up, or are what is said behind \`gauge\`.

Made from the declarations in \`pkg/*/src\` by \`npm run docs\`; change them there, and what is said of labels in \`scripts/docs/label-values.ts\`.

${sections.join("\n\n")}
`;
}

function ownerSection(owner: string, metrics: readonly Metric[], labelValues: LabelValues): string {
  const rows = metrics
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, kind, aggregate, labels, help, buckets, exemplars }) => [
      code(name),
      [aggregate === undefined ? kind : `${kind} (${aggregate})`, ...(exemplars ? ["exemplars"] : [])].join(", "),
      unitOf(name.replace(/_total$/, "")) ?? "",
      labels.map(code).join(", "),
      [help, ...(buckets === undefined ? [] : [`Buckets: ${buckets}.`])].join(" "),
    ]);
  const table = toTable(["name", "type", "unit", "labels", "what it shows"], rows);
  const labels = labelValues.rowsOf(metrics);
  const labelTable = labels.length > 0 ? `\n\n${toTable(["label", "of", "values"], labels)}` : "";
  return `## ${owner}\n\n${table}${labelTable}`;
}

export interface Metric {
  readonly owner: string;
  readonly name: string;
  readonly kind: string;
  readonly labels: readonly string[];
  readonly help: string;
  /** How a gauge's values of several workers become one, where not their sum. */
  readonly aggregate: string | undefined;
  /** Upper bounds, where they are not the usual ones. */
  readonly buckets: string | undefined;
  readonly exemplars: boolean;
}

/** @throws Error with the place of a declaration that cannot be read. */
export function findMetrics({ owner, tokens, placeOf }: Source): Metric[] {
  return tokens.flatMap(({ kind: token, value: kind }, index): Metric[] => {
    if (token !== "name" || !kinds.has(kind) || tokens[index - 1]?.value !== ".") return [];
    if (!standsAt(tokens, index + 1, "(", "{")) return [];
    const fields = propertiesAt(tokens, index + 2);
    const isLiteral = fields.get("name")?.[0]?.kind === "text";
    const rows: readonly Row[] = isLiteral ? [new Map()] : loopAround(tokens, index);
    const [aggregate] = textsOf(fields.get("aggregate"), new Map());
    const exemplars = fields.get("exemplars")?.[0]?.value === "true";
    const metrics = rows.flatMap((row): Metric[] => {
      const [name] = textsOf(fields.get("name"), row);
      const [help] = textsOf(fields.get("help"), row);
      const labels = textsOf(fields.get("labels"), row);
      const buckets = bucketsOf(fields.get("buckets"), tokens);
      return name && help ? [{ owner, name, kind, labels, help, aggregate, buckets, exemplars }] : [];
    });
    if (metrics.length > 0 && metrics.length === rows.length) return metrics;
    const what = "name and help as plain strings, or as variables of a for-of loop over a literal table";
    throw new Error(`${placeOf(index)}: docs/metrics.md cannot be made from this ${kind}; write ${what}`);
  });
}

/** A list of numbers as it is written, with those that are spread into it from lists of the same file. */
function bucketsOf(expression: Expression | undefined, tokens: readonly Token[]): string | undefined {
  if (expression === undefined) return undefined;
  const [first] = expression;
  const items = first?.value === "[" ? itemsAt(expression, 0) : [expression];
  const texts = items.map((item) => {
    const named = item.find(({ kind }) => kind === "name")?.value;
    if (named === undefined) return item.map(({ value }) => value.replaceAll("_", "")).join("");
    if (named === "durationBucketsSeconds") return "the usual ones";
    const declared = tokens.findIndex((_, at) => standsAt(tokens, at, "const", named, "=", "["));
    return declared < 0 ? code(named) : bucketsOf(tokens.slice(declared + 3), tokens);
  });
  return texts.join(", ");
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
