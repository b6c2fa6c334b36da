import { type ErrorReport, type SerializedError, serializeError } from "@plinth/kernel";
import type { Event, Exception, StackParser } from "@sentry/core";

/** A report as Sentry's event. What belongs to the app, such as its release, the client adds. */
export function toSentryEvent(report: ErrorReport, eventId: string, stackParser: StackParser): Event {
  const { error, service, severity, origin, fingerprint, count, time, handled } = report;
  const { traceId, spanId, requestId, attributes } = report;
  return {
    event_id: eventId,
    timestamp: time / 1_000,
    level: severity,
    platform: "node",
    // Sentry groups as the bus does
    fingerprint: [fingerprint],
    tags: {
      service,
      code: error.code,
      status: error.status,
      origin,
      handled: String(handled),
      ...(requestId === undefined ? {} : { request_id: requestId }),
    },
    exception: { values: toExceptions(unwrapped(serializeError(error)), handled, stackParser) },
    extra: attributes,
    contexts: {
      report: { count, ...error.metadata },
      ...(traceId === undefined || spanId === undefined ? {} : { trace: { trace_id: traceId, span_id: spanId } }),
    },
  };
}

/** An error that `AppError.from` has put around a foreign one says nothing of its own, and its stack leads to the bus. */
function unwrapped(error: SerializedError): SerializedError {
  const { type, message, cause } = error;
  return type === "AppError" && cause?.stack !== undefined && cause.message === message ? cause : error;
}

/**
 * The error, what led to it, and the errors of an aggregate, as a tree by number: the root last, as Sentry wants it.
 * @see https://develop.sentry.dev/sdk/foundations/data-model/event-payloads/exception/
 */
function toExceptions(root: SerializedError, handled: boolean, stackParser: StackParser): Exception[] {
  const exceptions: Exception[] = [];
  const add = (error: SerializedError, source?: string, parent?: number): void => {
    const id = exceptions.length;
    const { type, message, stack, cause, errors } = error;
    exceptions.push({
      type,
      value: message,
      ...(stack === undefined ? {} : { stacktrace: { frames: stackParser(stack, linesOf(message)) } }),
      mechanism: {
        type: source === undefined ? "plinth" : "chained",
        handled,
        exception_id: id,
        ...(errors ? { is_exception_group: true } : {}),
        ...(source === undefined ? {} : { source }),
        ...(parent === undefined ? {} : { parent_id: parent }),
      },
    });
    if (cause) add(cause, "cause", id);
    for (const [at, inner] of errors?.entries() ?? []) add(inner, `errors[${at}]`, id);
  };
  add(root);
  return exceptions.toReversed();
}

/** Of a stack the first lines are the message, which may look like frames. */
function linesOf(message: string): number {
  return message.split("\n").length;
}
