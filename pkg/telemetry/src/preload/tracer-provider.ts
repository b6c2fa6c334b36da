import {
  type Context,
  context as contexts,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  type Span,
  SpanKind,
  type SpanOptions,
  trace,
  TraceFlags,
  type Tracer,
  type TracerOptions,
  type TracerProvider,
} from "@opentelemetry/api";
import { currentContext, randomHex, sinkOf, type SpanContext, type SpanSink, tracingOf } from "@plinth/kernel";
import { preloadMark } from "../foreign-sdk.ts";
import type { PreloadLink } from "../preload-link.ts";

/** Instrumentations of what Plinth's servers stand on. Those make a span of each request themselves: a second one would be in the way. */
const serverScopes: ReadonlySet<string> = new Set([
  "@opentelemetry/instrumentation-http",
  "@opentelemetry/instrumentation-grpc",
]);

/** Sends spans of other libraries where the app that is at work sends its own; outside of any request, where the first one does. */
export class AppTracerProvider implements TracerProvider {
  readonly [preloadMark] = true;
  readonly #link: PreloadLink;

  constructor(link: PreloadLink) {
    this.#link = link;
  }

  getTracer(name: string, version?: string, options?: TracerOptions): Tracer {
    return new AppTracer(() => this.#sink(), [name, version, options]);
  }

  #sink(): SpanSink | undefined {
    return sinkOf(tracingOf(currentContext()?.span)) ?? this.#link.sinks.values().next().value;
  }
}

class AppTracer implements Tracer {
  readonly #sink: () => SpanSink | undefined;
  readonly #scope: readonly [name: string, version: string | undefined, options: TracerOptions | undefined];

  constructor(sink: () => SpanSink | undefined, scope: AppTracer["scope"]) {
    this.#sink = sink;
    this.#scope = scope;
  }

  get scope() {
    return this.#scope;
  }

  startSpan(name: string, options: SpanOptions = {}, context: Context = contexts.active()): Span {
    const sink = this.#sink();
    const given = options.root === true ? undefined : trace.getSpanContext(context);
    const parent = given && isSpanContextValid(given) ? given : undefined;
    const isSecond = options.kind === SpanKind.SERVER && serverScopes.has(this.#scope[0]);
    if (sink === undefined || isSecond) return trace.wrapSpanContext(parent ?? INVALID_SPAN_CONTEXT);
    const traceId = parent?.traceId ?? randomHex(16);
    const isParentSampled = parent !== undefined && (parent.traceFlags & TraceFlags.SAMPLED) !== 0;
    const caller = parent && { traceId, spanId: parent.spanId, sampled: isParentSampled };
    const sampled =
      caller === undefined || parent?.isRemote === true
        ? this.#isSampled(sink, caller, options.kind, traceId)
        : isParentSampled;
    if (!sampled) {
      return trace.wrapSpanContext({
        ...parent,
        traceId,
        spanId: randomHex(8),
        traceFlags: TraceFlags.NONE,
        isRemote: false,
      });
    }
    if (parent === undefined) sink.useTraceId(traceId);
    return sink.getTracer(...this.#scope).startSpan(name, options, context);
  }

  /** Nobody vouches for who asks another library's server: it has no say, not even by the id that it has chosen. */
  #isSampled(sink: SpanSink, caller: SpanContext | undefined, kind: SpanKind | undefined, traceId: string): boolean {
    if (caller !== undefined && kind === SpanKind.SERVER) return sink.isSampled(null, randomHex(16));
    return sink.isSampled(caller ?? null, traceId);
  }

  startActiveSpan<F extends (span: Span) => ReturnType<F>>(name: string, fn: F): ReturnType<F>;
  startActiveSpan<F extends (span: Span) => ReturnType<F>>(name: string, options: SpanOptions, fn: F): ReturnType<F>;
  startActiveSpan<F extends (span: Span) => ReturnType<F>>(
    name: string,
    options: SpanOptions,
    context: Context,
    fn: F,
  ): ReturnType<F>;
  startActiveSpan<F extends (span: Span) => ReturnType<F>>(
    name: string,
    ...rest: [fn: F] | [options: SpanOptions, fn: F] | [options: SpanOptions, context: Context, fn: F]
  ): ReturnType<F> {
    const [options, within, fn] =
      rest.length === 1
        ? [undefined, undefined, rest[0]]
        : rest.length === 2
          ? [rest[0], undefined, rest[1]]
          : [rest[0], rest[1], rest[2]];
    const context = within ?? contexts.active();
    const span = this.startSpan(name, options, context);
    return contexts.with(trace.setSpan(context, span), fn, undefined, span);
  }
}
