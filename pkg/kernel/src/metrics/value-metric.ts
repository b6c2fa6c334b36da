import { messageOf } from "../errors/app-error.ts";
import type { Metric, MetricHost } from "./metric.ts";
import type { Labels, MetricOptions } from "./metrics.ts";
import { SeriesTree } from "./series.ts";
import type { Slices } from "./slices.ts";
import { type Aggregate, toSampleValue, type ValueFamily, type ValueSample } from "./snapshot.ts";

/** A number for each set of label values. What is no number is left out and warned of: metrics never break what they measure. */
export class ValueMetric implements Metric {
  readonly name: string;
  readonly collect: (() => unknown) | undefined;
  readonly #options: ValueOptions;
  readonly #host: MetricHost;
  readonly #series: SeriesTree<{ readonly values: readonly string[]; value: number }>;

  constructor(options: ValueOptions, host: MetricHost) {
    const { name, labels = [], maxSeries = defaultMaxSeries, collect } = options;
    this.name = name;
    this.#options = options;
    this.#host = host;
    this.#series = new SeriesTree({
      labels,
      max: maxSeries,
      create: (values) => ({ values, value: 0 }),
      onOverflow: () => host.onOverflow(name),
      onWrongLabels: (problem) => host.warn(name, problem),
    });
    if (collect) {
      this.collect = () => {
        this.#series.clear(); // what it does not set now is no more
        return collect(this);
      };
    } else if (labels.length === 0) this.#series.find({});
  }

  inc(labels: Labels<string>, by = 1): void {
    if (isTotal(by)) this.#series.find(labels).value += by;
    else this.#host.warn(this.name, `a counter takes finite numbers from 0, not ${messageOf(by)}`);
  }

  set(labels: Labels<string>, value: number): void {
    const isAllowed = this.#options.type === "counter" ? isTotal(value) : typeof value === "number";
    if (isAllowed) this.#series.find(labels).value = value;
    else this.#host.warn(this.name, `a ${this.#options.type} cannot be ${messageOf(value)}`);
  }

  async snapshot(slices: Slices, isKnown: boolean): Promise<ValueFamily> {
    const { name, help, labels = [], type, aggregate } = this.#options;
    const series: ValueSample[] = [];
    for (const { values, value } of isKnown ? this.#series.all : []) {
      series.push({ values, value: toSampleValue(value) });
      if (slices.due()) await slices.pause();
    }
    return { name, help, labels, type, aggregate, series };
  }
}

interface ValueOptions extends MetricOptions<string> {
  readonly type: "counter" | "gauge";
  readonly aggregate: Aggregate;
  readonly collect?: ((own: ValueMetric) => unknown) | undefined;
}

export const defaultMaxSeries = 1_000;

function isTotal(value: number): boolean {
  return typeof value === "number" && value >= 0 && value < Infinity;
}
