// Spans of Plinth as those of OpenTelemetry and back: for what other libraries make in the same trace.
import type * as OtelApi from "@opentelemetry/api";
import type { Span, Tracing } from "./span.ts";
import { ExportedSpan, isLocal, type OtelApiParts, toOtelContext } from "./spans.ts";
import type { SpanContext } from "./traceparent.ts";
import { createTracing } from "./tracing.ts";

/** The span that code written for OpenTelemetry sees: the recorded one, or one that only carries ids. */
export function toOtelSpan(span: SpanContext, api: OtelApiParts): OtelApi.Span {
  return span instanceof ExportedSpan ? span.otel : api.trace.wrapSpanContext(toOtelContext(span, api, false));
}

/** A span that code written for OpenTelemetry made, as one of the app's. */
export function fromOtelSpan(otel: OtelApi.Span, api: OtelApiParts, tracing: Tracing = idsOnly): Span {
  return new ExportedSpan(otel, api, tracing);
}

const idsOnly = createTracing();

/** Who made a span of this process; undefined for another's. */
export function tracingOf(span: SpanContext | undefined): Tracing | undefined {
  return isLocal(span) ? span.tracing : undefined;
}
