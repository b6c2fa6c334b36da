import { Slices } from "./slices.ts";
import type { Exemplar, FamilySnapshot, HistogramFamily, MetricsSnapshot, SampleValue } from "./snapshot.ts";
import { unitOf } from "./unit.ts";

/** `prometheus` is the text format 0.0.4, `openmetrics` that of OpenMetrics 1.0, which has units and exemplars. */
export type ExpositionFormat = "prometheus" | "openmetrics";

/**
 * The snapshot as text in UTF-8, made in slices that let everything else have its turn. Bytes, since a long string made of many takes its time all at once
 * where it is first read.
 *
 * @throws the signal's reason soon after it aborts.
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @see https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
 */
export async function renderSnapshot(
  { families }: MetricsSnapshot,
  format: ExpositionFormat,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Buffer> {
  const slices = new Slices(signal);
  const pieces: Buffer[] = [];
  let text = "";
  for (const family of families) {
    const syntax = syntaxes[format](family);
    text += syntax.head;
    for (const lines of family.type === "histogram" ? histogramLines(family, syntax) : valueLines(family, syntax)) {
      text += lines;
      if (slices.due()) {
        pieces.push(Buffer.from(text));
        text = "";
        await slices.pause();
      }
    }
  }
  pieces.push(Buffer.from(format === "openmetrics" ? `${text}# EOF\n` : text));
  return Buffer.concat(pieces);
}

/** How one family is written. */
interface Syntax {
  readonly head: string;
  /** Of the samples of a counter or gauge. */
  readonly sampleName: string;
  readonly bound: (bound: number) => string;
  /** What follows the value of a bucket. */
  readonly exemplar: (exemplar: Exemplar | null | undefined) => string;
}

const syntaxes: Readonly<Record<ExpositionFormat, (family: FamilySnapshot) => Syntax>> = {
  prometheus: ({ name, type, help }) => ({
    head: `# HELP ${name} ${escapeLine(help)}\n# TYPE ${name} ${type}\n`,
    sampleName: name,
    bound: String,
    exemplar: () => "",
  }),
  // A counter's family has the name without `_total`.
  openmetrics({ name: sampleName, type, help }) {
    const name = type === "counter" ? sampleName.replace(/_total$/, "") : sampleName;
    const unit = unitOf(name);
    const unitLine = unit === undefined ? "" : `# UNIT ${name} ${unit}\n`;
    return {
      head: `# TYPE ${name} ${type}\n${unitLine}# HELP ${name} ${escapeQuoted(help)}\n`,
      sampleName,
      // "1.0" and not "1", as other clients write it: a series is found by this text.
      bound: (bound) => (Number.isInteger(bound) && Math.abs(bound) < 1e21 ? `${bound}.0` : String(bound)),
      exemplar: writeExemplar,
    };
  },
};

function* valueLines(family: Exclude<FamilySnapshot, HistogramFamily>, { sampleName }: Syntax): Iterable<string> {
  for (const { values, value } of family.series) {
    const labels = writeLabels(family.labels, values);
    yield `${sampleName}${labels && `{${labels}}`} ${value}\n`;
  }
}

function* histogramLines({ name, labels: names, bounds, series }: HistogramFamily, syntax: Syntax): Iterable<string> {
  const heads = [...bounds.map(syntax.bound), "+Inf"].map((bound) => `${name}_bucket{le="${bound}"`);
  for (const { values, counts, sum, exemplars } of series) {
    const labels = writeLabels(names, values);
    const ending = labels && `,${labels}`;
    let total = 0;
    let lines = "";
    for (const [bucket, head] of heads.entries()) {
      total += counts[bucket] ?? 0;
      lines += `${head}${ending}} ${total}${syntax.exemplar(exemplars?.[bucket])}\n`;
    }
    const own = labels && `{${labels}}`;
    yield `${lines}${name}_sum${own} ${sum satisfies SampleValue}\n${name}_count${own} ${total}\n`;
  }
}

function writeLabels(names: readonly string[], values: readonly string[]): string {
  let text = "";
  for (const [index, name] of names.entries()) {
    text += `${index === 0 ? "" : ","}${name}="${escapeQuoted(values[index] ?? "")}"`;
  }
  return text;
}

function writeExemplar(exemplar: Exemplar | null | undefined): string {
  if (!exemplar) return "";
  const { traceId, spanId, value, atMs } = exemplar;
  return ` # {trace_id="${escapeQuoted(traceId)}",span_id="${escapeQuoted(spanId)}"} ${value} ${atMs / 1e3}`;
}

const needsEscape = /[\\\n"]/;

function escapeQuoted(text: string): string {
  return needsEscape.test(text) ? escapeLine(text).replaceAll('"', String.raw`\"`) : text;
}

function escapeLine(text: string): string {
  return text.replaceAll("\\", String.raw`\\`).replaceAll("\n", String.raw`\n`);
}
