import { Slices } from "./slices.ts";

/** What every metric of one process is at a moment, as plain data that JSON can hold. */
export interface MetricsSnapshot {
  readonly families: readonly FamilySnapshot[];
}

export type FamilySnapshot = ValueFamily | HistogramFamily;

interface Family {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
}

export interface ValueFamily extends Family {
  readonly type: "counter" | "gauge";
  /** How the values of several processes become one. */
  readonly aggregate: Aggregate;
  readonly series: readonly ValueSample[];
}

export interface HistogramFamily extends Family {
  readonly type: "histogram";
  /** Upper bounds, rising; above the last one is one more bucket. */
  readonly bounds: readonly number[];
  readonly series: readonly HistogramSample[];
}

export type Aggregate = "sum" | "max" | "min" | "average" | "first";

/** JSON has no words for what is not finite. */
export type SampleValue = number | "NaN" | "+Inf" | "-Inf";

export interface ValueSample {
  /** Of the family's labels, in their order. */
  readonly values: readonly string[];
  readonly value: SampleValue;
}

export interface HistogramSample {
  readonly values: readonly string[];
  /** How many values fell into each bucket alone: one more than there are bounds. */
  readonly counts: readonly number[];
  readonly sum: SampleValue;
  /** One for each bucket. Absent when the histogram keeps none. */
  readonly exemplars?: readonly (Exemplar | null)[];
}

/** A value and the span that it was observed in. */
export interface Exemplar {
  readonly traceId: string;
  readonly spanId: string;
  readonly value: number;
  /** In milliseconds since the Unix epoch. */
  readonly atMs: number;
}

export function toSampleValue(value: number): SampleValue {
  if (Number.isFinite(value)) return value;
  if (Number.isNaN(value)) return "NaN";
  return value > 0 ? "+Inf" : "-Inf";
}

export interface AggregateOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told of each family that was left out. Default: a warning of the process. */
  readonly onRefused?: (message: string) => void;
}

/**
 * The metrics of several processes as those of one, made in slices that let everything else have its turn. Counters and histograms add up, gauges do what
 * they were declared to, of exemplars the newest is kept. A family or series that some do not have is made of the others; one that they declare
 * differently is left out, and told.
 *
 * @throws the signal's reason soon after it aborts.
 */
export async function aggregateSnapshots(
  snapshots: readonly MetricsSnapshot[],
  { signal, onRefused = (message) => process.emitWarning(message) }: AggregateOptions = {},
): Promise<MetricsSnapshot> {
  const slices = new Slices(signal);
  const byName = Map.groupBy(
    snapshots.flatMap(({ families }) => families),
    ({ name }) => name,
  );
  const families: FamilySnapshot[] = [];
  for (const [name, given] of byName) {
    const [first] = given;
    const difference = findDifference(given);
    if (difference !== undefined) {
      onRefused(`metric ${name} is left out of the metrics of all processes: they differ in its ${difference}`);
    } else if (first?.type === "histogram") {
      const samples = given.flatMap((family) => (family.type === "histogram" ? family.series : []));
      families.push({ ...first, series: await combineSeries(samples, addHistograms, slices) });
    } else if (first) {
      const samples = given.flatMap((family) => (family.type === "histogram" ? [] : family.series));
      families.push({ ...first, series: await combineSeries(samples, combineValues(first.aggregate), slices) });
    }
  }
  return { families };
}

/** What two processes do not mean alike by one name. */
function findDifference(given: readonly FamilySnapshot[]): string | undefined {
  const readings: Readonly<Record<string, (family: FamilySnapshot) => string>> = {
    type: ({ type }) => type,
    labels: ({ labels }) => labels.join(", "),
    buckets: (family) => (family.type === "histogram" ? family.bounds.join(", ") : ""),
    aggregate: (family) => (family.type === "histogram" ? "" : family.aggregate),
  };
  for (const [what, read] of Object.entries(readings)) {
    const texts = [...new Set(given.map(read))];
    if (texts.length > 1) return `${what} (${texts.map((text) => text || "none").join("; ")})`;
  }
  return undefined;
}

type Several<T> = readonly [T, ...T[]];

/** Of the samples with the same label values one, in the order in which they first came. */
async function combineSeries<S extends { readonly values: readonly string[] }>(
  samples: readonly S[],
  combine: (samples: Several<S>) => S,
  slices: Slices,
): Promise<S[]> {
  const groups = new Map<string, [S, ...S[]]>();
  for (const sample of samples) {
    const key = sample.values.join("\0"); // which no value has in it
    const group = groups.get(key);
    if (group) group.push(sample);
    else groups.set(key, [sample]);
    if (slices.due()) await slices.pause();
  }
  const series: S[] = [];
  for (const group of groups.values()) {
    series.push(combine(group));
    if (slices.due()) await slices.pause();
  }
  return series;
}

const combiners: Readonly<Record<Aggregate, (values: readonly number[]) => number>> = {
  sum,
  max: (values) => values.reduce((a, b) => Math.max(a, b)),
  min: (values) => values.reduce((a, b) => Math.min(a, b)),
  average: (values) => sum(values) / values.length,
  first: ([value = Number.NaN]) => value,
};

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

function combineValues(aggregate: Aggregate): (samples: Several<ValueSample>) => ValueSample {
  return (samples) => ({
    values: samples[0].values,
    value: toSampleValue(combiners[aggregate](samples.map(({ value }) => toNumber(value)))),
  });
}

function addHistograms(samples: Several<HistogramSample>): HistogramSample {
  const [first] = samples;
  const total: HistogramSample = {
    values: first.values,
    counts: first.counts.map((_, bucket) => sum(samples.map(({ counts }) => counts[bucket] ?? 0))),
    sum: toSampleValue(sum(samples.map(({ sum }) => toNumber(sum)))),
  };
  if (samples.every(({ exemplars }) => exemplars === undefined)) return total;
  return { ...total, exemplars: first.counts.map((_, bucket) => newest(samples, bucket)) };
}

function newest(samples: readonly HistogramSample[], bucket: number): Exemplar | null {
  const exemplars = samples.flatMap(({ exemplars }) => exemplars?.[bucket] ?? []);
  return exemplars.reduce<Exemplar | null>((a, b) => (a !== null && a.atMs >= b.atMs ? a : b), null);
}

function toNumber(value: SampleValue): number {
  if (value === "+Inf") return Infinity;
  return value === "-Inf" ? -Infinity : Number(value);
}
