import { isCancelled } from "../app/limited.ts";
import { provider } from "../app/provider.ts";
import { token } from "../app/token.ts";
import { appEvents, clock } from "../app/tokens.ts";
import type { Logger } from "../logger/logger.ts";
import { logger } from "../logger/module.ts";
import { metrics } from "../metrics/module.ts";
import { tracing } from "../tracing/module.ts";
import { createErrorBus, type ErrorBus, type ErrorReport, type ErrorReporter } from "./error-bus.ts";

export const errorBus = token("errors").of<ErrorBus>();
/** Who is told of each error, beside the log and the metrics. They are up before the error bus and down after it, so they cannot need it; undefined where none is configured. */
export const errorReporters = token("errors.reporters").listOf<ErrorReporter | undefined>();

export const provideErrorBus = provider({
  provides: errorBus,
  needs: { clock, log: logger, events: appEvents, metrics, tracing, reporters: errorReporters },
  ground: true,
  create: ({ clock: time, log, events, metrics: own, reporters }) => {
    const bus = createErrorBus({ clock: time });
    const errorLog = log.named("errors");
    bus.subscribe({ name: "log", report: (reports) => reports.forEach((report) => logReport(errorLog, report)) });
    const counter = own.counter({
      name: "errors_total",
      help: "Errors reported to the error bus.",
      labels: ["origin", "code"],
    });
    bus.subscribe({
      name: "metrics",
      report: (reports) => reports.forEach(({ origin, error }) => counter.inc({ origin, code: error.code })),
    });
    own.counter({
      name: "errors_dropped_total",
      help: "Error reports that a reporter did not get, because its queue was full or a flush ran out of time.",
      collect: (counter) => counter.set({}, bus.stats().dropped),
    });
    for (const reporter of reporters) if (reporter) bus.subscribe(reporter);
    events.subscribe((event) => {
      if (event.type === "fatal") {
        bus.report(event.error, { origin: event.origin, handled: false, severity: "fatal" });
      } else if (event.type === "config" && event.outcome === "refused") {
        bus.report(event.error, { origin: "lifecycle" });
      } else if (event.type === "hook" && event.step === "failed" && !isCancelled(event.error)) {
        // one that was cut short because something else failed is no error of its own
        bus.report(event.error, { origin: "lifecycle" });
      }
    });
    return bus;
  },
  stop: (bus) => bus.flush(),
});

function logReport(
  log: Logger,
  { error, origin, handled, severity, traceId, spanId, requestId, attributes }: ErrorReport,
): void {
  const ids = { trace_id: traceId, span_id: spanId, request_id: requestId };
  const write =
    severity === "fatal" ? log.fatal.bind(log) : severity === "warning" ? log.warn.bind(log) : log.error.bind(log);
  write(error.message, { ...ids, origin, handled, ...attributes, error });
}
