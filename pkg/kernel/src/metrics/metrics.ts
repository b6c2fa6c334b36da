import type { SpanContext } from "../tracing/traceparent.ts";

/** Values for the label names that a metric was declared with: all of them, and no others. */
export type Labels<Name extends string> = Readonly<Record<Name, string>>;

export interface MetricOptions<Name extends string> {
  /** `<package>_<what>_<unit>` in base units; counters end in `_total`. */
  readonly name: string;
  readonly help: string;
  /** Names whose values come from a small, fixed set: route templates, never paths. Default none. */
  readonly labels?: readonly Name[];
  /** Sets of label values kept, 1 or more; all others share one whose values are `_overflow`, and are counted. Default 1_000. */
  readonly maxSeries?: number;
}

export interface Counter<Name extends string = never> {
  /** @param by - 0 or more. Default 1. */
  inc(labels: Labels<Name>, by?: number): void;
}

export interface CounterOptions<Name extends string> extends MetricOptions<Name> {
  /** For totals that something else keeps: called at each scrape to set them. They must never fall while the process lives. */
  readonly collect?: (counter: { set(labels: Labels<Name>, total: number): void }) => void;
}

export interface Gauge<Name extends string = never> {
  set(labels: Labels<Name>, value: number): void;
}

export interface GaugeOptions<Name extends string> extends MetricOptions<Name> {
  /** What the value of several worker processes is together. Default `sum`. */
  readonly aggregate?: "sum" | "max" | "min" | "average" | "first";
  /** Called at each scrape to set the current value. */
  readonly collect?: (gauge: Gauge<Name>) => void;
}

export interface Histogram<Name extends string = never> {
  /** @param span - Named beside the bucket in OpenMetrics, when it is sampled and the histogram keeps exemplars. Default: that of the current request. */
  observe(labels: Labels<Name>, value: number, span?: SpanContext): void;
}

export interface HistogramOptions<Name extends string> extends MetricOptions<Name> {
  /** Upper bounds, rising. Default {@link durationBucketsSeconds}. */
  readonly buckets?: readonly number[];
  /** Keeps, for each bucket, the trace of a recent value. Default false. */
  readonly exemplars?: boolean;
}

/**
 * One app's metrics: a registry of its own, nothing global. A name is declared once; a second time throws.
 * A `collect` that throws is a warning of the process, and the other metrics are still exposed.
 */
export interface Metrics {
  counter<const Name extends string = never>(options: CounterOptions<Name>): Counter<Name>;
  gauge<const Name extends string = never>(options: GaugeOptions<Name>): Gauge<Name>;
  histogram<const Name extends string = never>(options: HistogramOptions<Name>): Histogram<Name>;
  /** Prometheus text format. */
  expose(): Promise<{ readonly contentType: string; readonly body: string }>;
}

/** From half a millisecond to ten seconds. */
export const durationBucketsSeconds: readonly number[] = Object.freeze([
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
]);
