import * as prometheus from "@prometheus-io/client";
import {
  type Counter,
  durationBucketsSeconds,
  type Gauge,
  type Histogram,
  type Labels,
  type Metrics,
} from "./metrics.ts";

/** Metrics on a private registry of the Prometheus client. */
export function createMetrics(): Metrics {
  const registry = new prometheus.Registry(prometheus.Registry.PROMETHEUS_CONTENT_TYPE);
  const registers = [registry as prometheus.Registry<prometheus.PrometheusContentType>];
  return {
    counter<Name extends string>({
      name,
      help,
      labels = [],
    }: {
      name: string;
      help: string;
      labels?: readonly Name[];
    }): Counter<Name> {
      const counter = new prometheus.Counter<string>({ name, help, labelNames: labels, registers });
      return { inc: (values: Labels<Name>, by = 1) => counter.inc(values, by) };
    },
    gauge({ name, help, labels = [], collect }) {
      const gauge = new prometheus.Gauge<string>({
        name,
        help,
        labelNames: labels,
        registers,
        collect: () => collect?.(ours),
      });
      const ours: Gauge<string> = { set: (values, value) => gauge.set(values, value) };
      return ours;
    },
    histogram<Name extends string>(options: {
      name: string;
      help: string;
      labels?: readonly Name[];
      buckets?: readonly number[];
    }): Histogram<Name> {
      const { name, help, labels = [], buckets = durationBucketsSeconds } = options;
      const histogram = new prometheus.Histogram<string>({
        name,
        help,
        labelNames: labels,
        registers,
        buckets: [...buckets],
      });
      return { observe: (values: Labels<Name>, value) => histogram.observe(values, value) };
    },
    async expose() {
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}
