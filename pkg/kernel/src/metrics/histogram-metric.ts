import { currentContext } from "../context.ts";
import { messageOf } from "../errors/app-error.ts";
import { OptionError } from "../errors/option-error.ts";
import type { SpanContext } from "../tracing/traceparent.ts";
import type { Metric, MetricHost } from "./metric.ts";
import { durationBucketsSeconds, type Histogram, type HistogramOptions, type Labels } from "./metrics.ts";
import { SeriesTree } from "./series.ts";
import type { Slices } from "./slices.ts";
import { type Exemplar, type HistogramFamily, type HistogramSample, toSampleValue } from "./snapshot.ts";
import { defaultMaxSeries } from "./value-metric.ts";

/** A bucket's exemplar is replaced at most this often, in milliseconds: under load one value in thousands pays for it. */
const exemplarEveryMs = 1_000;

/** How many values fell into each bucket, for each set of label values. */
export class HistogramMetric implements Metric, Histogram<string> {
  readonly name: string;
  readonly collect = undefined;
  readonly #options: HistogramOptions<string>;
  readonly #bounds: readonly number[];
  readonly #host: MetricHost;
  readonly #series: SeriesTree<Series>;

  /** @throws {@link OptionError} `ERR_OPTION_RANGE` unless the buckets rise. */
  constructor(options: HistogramOptions<string>, host: MetricHost) {
    const { name, labels = [], maxSeries = defaultMaxSeries, buckets = durationBucketsSeconds } = options;
    requireBuckets(name, buckets);
    this.name = name;
    this.#options = options;
    this.#bounds = [...buckets];
    this.#host = host;
    this.#series = new SeriesTree({
      labels,
      max: maxSeries,
      create: (values) => ({
        values,
        counts: Array.from({ length: buckets.length + 1 }, () => 0),
        sum: 0,
        exemplars: options.exemplars === true ? Array.from({ length: buckets.length + 1 }, () => null) : undefined,
      }),
      onOverflow: () => host.onOverflow(name),
      onWrongLabels: (problem) => host.warn(name, problem),
    });
    if (labels.length === 0) this.#series.find({});
  }

  observe(labels: Labels<string>, value: number, span?: SpanContext): void {
    if (typeof value !== "number" || !Number.isFinite(value)) {
      this.#host.warn(this.name, `a histogram takes finite numbers, not ${messageOf(value)}`);
      return;
    }
    const series = this.#series.find(labels);
    const bucket = this.#bucketOf(value);
    series.counts[bucket] = (series.counts[bucket] ?? 0) + 1;
    series.sum += value;
    if (series.exemplars) this.#keepExemplar(series.exemplars, bucket, value, span ?? currentContext()?.span);
  }

  async snapshot(slices: Slices): Promise<HistogramFamily> {
    const { name, help, labels = [] } = this.#options;
    const series: HistogramSample[] = [];
    for (const { values, counts, sum, exemplars } of this.#series.all) {
      const sample = { values, counts: [...counts], sum: toSampleValue(sum) };
      series.push(exemplars ? { ...sample, exemplars: [...exemplars] } : sample);
      if (slices.due()) await slices.pause();
    }
    return { name, help, type: "histogram", labels, bounds: this.#bounds, series };
  }

  #bucketOf(value: number): number {
    const bounds = this.#bounds;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] ?? Infinity)) bucket += 1;
    return bucket;
  }

  #keepExemplar(exemplars: (Exemplar | null)[], bucket: number, value: number, span: SpanContext | undefined): void {
    if (!span?.sampled) return;
    const atMs = this.#host.now();
    const kept = exemplars[bucket];
    // A clock that was set back keeps none for longer than the usual time either.
    if (kept && Math.abs(atMs - kept.atMs) < exemplarEveryMs) return;
    exemplars[bucket] = { traceId: span.traceId, spanId: span.spanId, value, atMs };
  }
}

interface Series {
  readonly values: readonly string[];
  readonly counts: number[];
  sum: number;
  readonly exemplars: (Exemplar | null)[] | undefined;
}

function requireBuckets(name: string, buckets: readonly number[]): void {
  const isRising = buckets.every((bound, index) => Number.isFinite(bound) && bound > (buckets[index - 1] ?? -Infinity));
  if (isRising && buckets.length > 0) return;
  throw new OptionError(
    "ERR_OPTION_RANGE",
    "invalid_argument",
    `buckets of metric ${name} must be one or more finite numbers, rising, not [${buckets.join(", ")}]; the one above them all comes by itself`,
  );
}
