import { type Clock, systemClock } from "../clock.ts";
import { guardCollect } from "./collect.ts";
import { DeclaredNames, type MetricKind, requireDeclarable } from "./declare.ts";
import { createExposition } from "./exposition.ts";
import { HistogramMetric } from "./histogram-metric.ts";
import type { Metric, MetricHost } from "./metric.ts";
import type { MetricOptions, Metrics } from "./metrics.ts";
import { shareRuns } from "./shared-run.ts";
import { Slices } from "./slices.ts";
import type { MetricsSnapshot } from "./snapshot.ts";
import { ValueMetric } from "./value-metric.ts";

export interface MetricsOptions {
  /** Stamps exemplars and limits what `collect` may take. Default {@link systemClock}. */
  readonly clock?: Clock;
}

/** Metrics on a registry of their own. */
export function createMetrics({ clock = systemClock }: MetricsOptions = {}): Metrics {
  const names = new DeclaredNames();
  const members: Member[] = [];
  const host = createHost(clock, (name) => overflows.inc({ metric: name }));

  /** @param caller - The function above the declaration in a stack. */
  const declare = <M extends Metric>(
    kind: MetricKind,
    options: MetricOptions<string>,
    caller: (...args: never) => unknown,
    make: () => M,
  ): M => {
    requireDeclarable(kind, options);
    const origin: { stack?: string } = {};
    Error.captureStackTrace(origin, caller);
    const metric = make();
    names.add({ name: metric.name, origin });
    const { collect } = metric;
    const onFailed = (): void => failures.inc({ metric: metric.name });
    const onFailing = (problem: string): void =>
      process.emitWarning(`the value of metric ${metric.name} could not be read: ${problem}`);
    members.push({ metric, collect: collect && guardCollect(collect, { clock, onFailed, onFailing }) });
    return metric;
  };

  const counter: Metrics["counter"] = (options) =>
    declare(
      "counter",
      options,
      counter,
      () => new ValueMetric({ ...options, type: "counter", aggregate: "sum" }, host),
    );
  const gauge: Metrics["gauge"] = (options) =>
    declare(
      "gauge",
      options,
      gauge,
      () => new ValueMetric({ ...options, type: "gauge", aggregate: options.aggregate ?? "sum" }, host),
    );
  const histogram: Metrics["histogram"] = (options) =>
    declare("histogram", options, histogram, () => new HistogramMetric(options, host));

  const declared = { counter, gauge, histogram };
  const overflows = declared.counter({
    name: "metrics_series_overflow_total",
    help: "Times that label values came after their metric had all the series it may have, and were counted in its series _overflow.",
    labels: ["metric"],
    maxSeries: Number.MAX_SAFE_INTEGER,
  });
  const failures = declared.counter({
    name: "metrics_collect_failures_total",
    help: "Times that the values of a metric could not be read for a scrape.",
    labels: ["metric"],
    maxSeries: Number.MAX_SAFE_INTEGER,
  });

  const snapshot = shareRuns((signal) => takeSnapshot(members, signal));
  const exposition = createExposition(snapshot);
  return { ...exposition, ...declared, snapshot: ({ signal } = {}) => snapshot(signal) };
}

interface Member {
  readonly metric: Metric;
  readonly collect: (() => Promise<boolean>) | undefined;
}

async function takeSnapshot(members: readonly Member[], signal: AbortSignal): Promise<MetricsSnapshot> {
  const slices = new Slices(signal);
  const collected = new Map<Metric, Promise<boolean>>();
  for (const { metric, collect } of members) {
    if (collect) collected.set(metric, collect());
    if (slices.due()) await slices.pause();
  }
  await Promise.all(collected.values()); // first, so that failures are counted in this snapshot
  const families = [];
  for (const { metric } of members) families.push(await metric.snapshot(slices, (await collected.get(metric)) ?? true));
  return { families };
}

function createHost(clock: Clock, onOverflow: (name: string) => void): MetricHost {
  const warned = new Set<string>();
  return {
    now: () => clock.now(),
    onOverflow,
    warn(name, problem) {
      if (warned.has(name)) return;
      warned.add(name);
      process.emitWarning(`metric ${name} is used in a wrong way: ${problem}`);
    },
  };
}
