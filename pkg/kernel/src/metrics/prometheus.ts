// oxlint-disable-next-line typescript/triple-slash-reference -- a program that compiles our sources, not by our config, finds it by this
/// <reference path="./client-parts.d.ts" />
import type { PrometheusContentType } from "@prometheus-io/client";
import PrometheusCounter from "@prometheus-io/client/lib/counter.js";
import PrometheusGauge from "@prometheus-io/client/lib/gauge.js";
import PrometheusHistogram from "@prometheus-io/client/lib/histogram.js";
import PrometheusRegistry from "@prometheus-io/client/lib/registry.js";
import { messageOf } from "../errors/app-error.ts";
import { requireNumber } from "../errors/option-error.ts";
import {
  type Counter,
  type CounterOptions,
  durationBucketsSeconds,
  type Gauge,
  type GaugeOptions,
  type Histogram,
  type HistogramOptions,
  type Metrics,
} from "./metrics.ts";

type Registers = PrometheusRegistry<PrometheusContentType>[];

/** Metrics on a private registry of the Prometheus client. */
export function createMetrics(): Metrics {
  const registry = new PrometheusRegistry(PrometheusRegistry.PROMETHEUS_CONTENT_TYPE);
  const registers = [registry];
  return {
    counter: (options) => createCounter(options, registers),
    gauge: (options) => createGauge(options, registers),
    histogram: (options) => createHistogram(options, registers),
    async expose() {
      return { contentType: registry.contentType, body: await registry.metrics() };
    },
  };
}

function createCounter<Name extends string>(options: CounterOptions<Name>, registers: Registers): Counter<Name> {
  const { name, help, labels = [], collect } = options;
  const counter = new PrometheusCounter<string>({
    name,
    help,
    labelNames: labels,
    registers,
    collect: guarded(
      name,
      collect &&
        (() => {
          counter.reset();
          collect({ set: (values, total) => counter.inc(values, total) });
        }),
    ),
  });
  return {
    inc(values, by = 1) {
      requireNumber(`what is added to ${name}`, by, { min: 0 });
      counter.inc(values, by);
    },
  };
}

function createGauge<Name extends string>(options: GaugeOptions<Name>, registers: Registers): Gauge<Name> {
  const { name, help, labels = [], collect } = options;
  const gauge = new PrometheusGauge<string>({
    name,
    help,
    labelNames: labels,
    registers,
    collect: guarded(name, collect && (() => collect(own))),
  });
  const own: Gauge<Name> = { set: (values, value) => gauge.set(values, value) };
  return own;
}

function createHistogram<Name extends string>(options: HistogramOptions<Name>, registers: Registers): Histogram<Name> {
  const { name, help, labels = [], buckets = durationBucketsSeconds } = options;
  const histogram = new PrometheusHistogram<string>({
    name,
    help,
    labelNames: labels,
    registers,
    buckets: [...buckets],
  });
  return { observe: (values, value) => histogram.observe(values, value) };
}

/** One collector that fails must not take all other metrics with it. */
function guarded(name: string, collect: (() => void) | undefined): () => void {
  return () => {
    try {
      collect?.();
    } catch (error) {
      process.emitWarning(`the value of metric ${name} could not be read: ${messageOf(error)}`);
    }
  };
}
