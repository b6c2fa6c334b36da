import {
  type Context,
  isSpanContextValid,
  type TextMapGetter,
  type TextMapPropagator,
  type TextMapSetter,
  trace,
  TraceFlags,
} from "@opentelemetry/api";
import { currentBaggage, formatBaggage, formatTraceparent, parseTraceContext } from "@plinth/kernel";

/** Set by the SDK on what it does itself. @see https://github.com/open-telemetry/opentelemetry-js, `suppressTracing` of its core */
const suppressed = Symbol.for("OpenTelemetry SDK Context Key SUPPRESS_TRACING");

/** W3C trace context, and the baggage of the request being served, for what other libraries send. */
export class W3cPropagator implements TextMapPropagator {
  inject(context: Context, carrier: unknown, setter: TextMapSetter): void {
    const span = trace.getSpanContext(context);
    if (!span || !isSpanContextValid(span) || context.getValue(suppressed) === true) return;
    const { traceId, spanId, traceFlags, traceState } = span;
    setter.set(
      carrier,
      "traceparent",
      formatTraceparent({ traceId, spanId, sampled: (traceFlags & TraceFlags.SAMPLED) !== 0 }),
    );
    const state = traceState?.serialize() ?? "";
    if (state !== "") setter.set(carrier, "tracestate", state);
    const baggage = formatBaggage(currentBaggage());
    if (baggage !== undefined) setter.set(carrier, "baggage", baggage);
  }

  extract(context: Context, carrier: unknown, getter: TextMapGetter): Context {
    const caller = parseTraceContext(firstOf(getter.get(carrier, "traceparent")), undefined);
    if (caller === undefined) return context;
    const { traceId, spanId, sampled } = caller;
    const traceFlags = sampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
    return trace.setSpanContext(context, { traceId, spanId, traceFlags, isRemote: true });
  }

  fields(): string[] {
    return ["traceparent", "tracestate", "baggage"];
  }
}

function firstOf(value: string | string[] | undefined): string | undefined {
  return typeof value === "object" ? (value.length === 1 ? value[0] : undefined) : value;
}
