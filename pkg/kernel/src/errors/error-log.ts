import type { LogFields, Logger } from "../logger/logger.ts";
import type { ErrorReport, ErrorReporter } from "./error-bus.ts";

/** Writes each report as a line of the log. */
export function createErrorLog(log: Logger): ErrorReporter {
  const write = (reports: readonly ErrorReport[]): void => {
    for (const report of reports) {
      const { error, severity } = report;
      if (severity === "fatal") log.fatal(error.message, fieldsOf(report));
      else if (severity === "warning") log.warn(error.message, fieldsOf(report));
      else log.error(error.message, fieldsOf(report));
    }
  };
  return { name: "log", maxBatch: 100, report: write, reportSync: write };
}

function fieldsOf(report: ErrorReport): LogFields {
  const { error, origin, handled, count, fingerprint, traceId, spanId, requestId, attributes } = report;
  const ids = { trace_id: traceId, span_id: spanId, request_id: requestId };
  const times = count > 1 ? { count } : {};
  return { ...ids, origin, handled, ...times, fingerprint, ...attributes, error };
}
