import type { Metrics } from "../metrics/metrics.ts";
import type { ErrorBus, ErrorOrigin, ReporterStats } from "./error-bus.ts";

/** Counts errors as they are reported. */
export function countErrors(own: Metrics): (origin: ErrorOrigin, code: string) => void {
  const counter = own.counter({
    name: "errors_total",
    help: "Errors reported to the error bus, each of them, also those that are counted for a later report.",
    labels: ["origin", "code"],
  });
  return (origin, code) => counter.inc({ origin, code });
}

/** Times each call of a reporter. */
export function timeDeliveries(own: Metrics): (reporter: string, tookMs: number, isTaken: boolean) => void {
  const duration = own.histogram({
    name: "errors_reporter_duration_seconds",
    help: "How long reporters took for the reports that they were given at once, by whether they have taken them.",
    labels: ["reporter", "outcome"],
  });
  return (reporter, tookMs, isTaken) =>
    duration.observe({ reporter, outcome: isTaken ? "ok" : "failed" }, tookMs / 1e3);
}

/** What becomes of the reports. */
export function collectErrorMetrics(own: Metrics, bus: ErrorBus): void {
  const each = (show: (reporter: ReporterStats) => void): void => bus.stats().reporters.forEach(show);
  own.counter({
    name: "errors_folded_total",
    help: "Errors that were counted for a later report of the same fault.",
    collect: (counter) => counter.set({}, bus.stats().folded),
  });
  own.counter({
    name: "errors_delivered_total",
    help: "Error reports that a reporter has taken.",
    labels: ["reporter"],
    collect: (counter) => each(({ name, delivered }) => counter.set({ reporter: name }, delivered)),
  });
  own.counter({
    name: "errors_dropped_total",
    help: "Error reports that a reporter did not get: its queue was full, a flush ran out of time, or it failed at them.",
    labels: ["reporter"],
    collect: (counter) => each(({ name, dropped }) => counter.set({ reporter: name }, dropped)),
  });
  own.counter({
    name: "errors_reporter_failures_total",
    help: "Times that a reporter threw, rejected or took too long.",
    labels: ["reporter"],
    collect: (counter) => each(({ name, failures }) => counter.set({ reporter: name }, failures)),
  });
  own.gauge({
    name: "errors_reporter_open",
    help: "1 while a reporter is left alone, after failures in a row.",
    labels: ["reporter"],
    collect: (gauge) => each(({ name, open }) => gauge.set({ reporter: name }, open ? 1 : 0)),
  });
  own.gauge({
    name: "errors_queued",
    help: "Error reports that wait for a reporter.",
    labels: ["reporter"],
    collect: (gauge) => each(({ name, queued }) => gauge.set({ reporter: name }, queued)),
  });
}
