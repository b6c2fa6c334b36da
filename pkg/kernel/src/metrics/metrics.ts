import type { SpanContext } from "../tracing/traceparent.ts";
import type { MetricsExposition } from "./exposition.ts";
import type { Aggregate, MetricsSnapshot } from "./snapshot.ts";

/**
 * Values for the label names that a metric was declared with: all of them, and no others. Control characters in them are replaced, and what is longer than
 * 128 characters is cut.
 */
export type Labels<Name extends string> = Readonly<
  [Name] extends [never] ? Record<string, never> : Record<Name, string>
>;

export interface MetricOptions<Name extends string> {
  /** `<package>_<what>_<unit>` in base units (seconds, bytes, ratio …); counters end in `_total`. */
  readonly name: string;
  /** What it shows, for whoever reads the scrape. */
  readonly help: string;
  /** Names whose values come from a small, fixed set: route templates, never paths. Default none. */
  readonly labels?: readonly Name[];
  /** Sets of label values kept, 1 or more; all others share one whose values are `_overflow`, and are counted. Default 1_000. */
  readonly maxSeries?: number;
}

/** It throws nothing where it is used: what cannot be counted is left out, with one warning of the process. The same holds for gauges and histograms. */
export interface Counter<Name extends string = never> {
  /** @param by - 0 or more, finite. Default 1. */
  inc(labels: Labels<Name>, by?: number): void;
}

export interface CounterOptions<Name extends string> extends MetricOptions<Name> {
  /** For totals that something else keeps: called at each scrape to set all of them. They must never fall while the process lives. Limit 1 s. */
  readonly collect?: (counter: { set(labels: Labels<Name>, total: number): void }) => void | Promise<void>;
}

export interface Gauge<Name extends string = never> {
  set(labels: Labels<Name>, value: number): void;
}

export interface GaugeOptions<Name extends string> extends MetricOptions<Name> {
  /** What the value of several worker processes is together. Default `sum`. */
  readonly aggregate?: Aggregate;
  /** Called at each scrape to set the current values; what it does not set is shown no longer. Limit 1 s. */
  readonly collect?: (gauge: Gauge<Name>) => void | Promise<void>;
}

export interface Histogram<Name extends string = never> {
  /**
   * @param value - Finite.
   * @param span - Named beside the bucket in OpenMetrics, when it is sampled and the histogram keeps exemplars. Default: that of the current request.
   */
  observe(labels: Labels<Name>, value: number, span?: SpanContext): void;
}

export interface HistogramOptions<Name extends string> extends MetricOptions<Name> {
  /** Upper bounds, rising. Default {@link durationBucketsSeconds}. */
  readonly buckets?: readonly number[];
  /** Keeps, for each bucket, the trace of a recent value that was sampled: at most a new one each second. Default false. */
  readonly exemplars?: boolean;
}

/**
 * One app's metrics: a registry of its own, nothing global. A `collect` that throws or hangs is a warning of the process and a count; its metric has no
 * values in that scrape, and the others are exposed.
 *
 * @throws {@link MetricError} `ERR_METRIC_NAME`, `ERR_METRIC_LABEL`, `ERR_METRIC_DECLARED` from `counter`, `gauge` and `histogram`; {@link OptionError} for
 * other options.
 */
export interface Metrics extends MetricsExposition {
  counter<const Name extends string = never>(options: CounterOptions<Name>): Counter<Name>;
  gauge<const Name extends string = never>(options: GaugeOptions<Name>): Gauge<Name>;
  histogram<const Name extends string = never>(options: HistogramOptions<Name>): Histogram<Name>;
  /** All values now, as plain data that another process can add to its own. */
  snapshot(options?: { readonly signal?: AbortSignal | undefined }): Promise<MetricsSnapshot>;
}

/** From half a millisecond to ten seconds. */
export const durationBucketsSeconds: readonly number[] = Object.freeze([
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
]);
