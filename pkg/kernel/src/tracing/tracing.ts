import type * as OtelApi from "@opentelemetry/api";
import { currentContext, deriveContext, runInContext } from "../context.ts";
import { randomHex } from "./ids.ts";
import { ExportedSpan, IdSpan, isLocal, type OtelApiParts, toOtelContext } from "./spans.ts";
import type { Span, SpanAttributes, SpanLink, StartSpanOptions, Tracing } from "./span.ts";
import type { SpanContext } from "./traceparent.ts";

/** Where recorded spans go: an OpenTelemetry tracer provider. */
export interface SpanSink extends OtelApi.TracerProvider {
  /** The copy of `@opentelemetry/api` that the provider stands on. */
  readonly api: OtelApiParts;
  /**
   * Whether to record a new span of this process, before anything is spent on it.
   * @param caller - The span of another process that it continues, whose word counts; null when it begins a trace.
   * @param traceId - Of the trace that it continues or begins.
   */
  isSampled(caller: SpanContext | null, traceId: string): boolean;
  /** The next trace to begin here, at once, has this id: the one that {@link isSampled} was asked for. */
  useTraceId(traceId: string): void;
}

/**
 * @param sink - For instance of `@plinth/telemetry`. Without one, spans only carry ids: unsampled, or as a trusted caller sampled them.
 */
export function createTracing({ sink }: { readonly sink?: SpanSink | undefined } = {}): Tracing {
  const tracer = sink?.getTracer("plinth");
  const kinds = sink && kindsOf(sink.api);
  const tracing: Tracing = { startSpan, withSpan: (...work) => runWithSpan(tracing, ...work) };
  if (sink) sinks.set(tracing, sink);
  return tracing;

  function startSpan(name: string, given?: StartSpanOptions): Span {
    const asked = given?.parent === undefined ? (currentContext()?.span ?? null) : given.parent;
    const stranger = asked?.isTrusted === false ? asked : undefined;
    const parent = stranger ? null : asked;
    const traceId = parent?.traceId ?? randomHex(16);
    const sampled = isSampled(sink, parent, traceId);
    if (!sink || !tracer || !kinds || !sampled) return new IdSpan(traceId, parent, sampled, tracing);
    if (parent === null) sink.useTraceId(traceId);
    const { api } = sink;
    const links = stranger ? [{ span: stranger }, ...(given?.links ?? [])] : given?.links;
    const options = {
      kind: kinds[given?.kind ?? "internal"],
      attributes: given?.attributes ?? {},
      root: parent === null,
      ...(links ? { links: links.map((link) => toOtelLink(link, api)) } : {}),
    };
    return new ExportedSpan(tracer.startSpan(name, options, contextOf(parent, api)), api, tracing);
  }
}

const sinks = new WeakMap<Tracing, SpanSink>();

/** Where a tracing sends what is recorded; undefined where it records nothing. */
export function sinkOf(tracing: Tracing | undefined): SpanSink | undefined {
  return tracing && sinks.get(tracing);
}

/**
 * Runs `fn` inside a new span below the current one, as the app's {@link Tracing} does, without having to be given that: for code far
 * below a handler. Ended when `fn` settles, marked as failed when it throws. Outside of any request, and of any span, it is exported
 * nowhere; use the token `tracing` there.
 *
 * @param attributes - What stands on the span.
 * @example await withSpan("price order", { "order.items": items.length }, () => price(items));
 */
export async function withSpan<T>(
  name: string,
  attributes: SpanAttributes,
  fn: (span: Span) => T | Promise<T>,
  options: Omit<StartSpanOptions, "attributes"> = {},
): Promise<T> {
  const outer = currentContext()?.span;
  return runWithSpan(isLocal(outer) ? outer.tracing : idsOnly, name, attributes, fn, options);
}

const idsOnly = createTracing();

async function runWithSpan<T>(
  tracing: Tracing,
  name: string,
  attributes: SpanAttributes,
  fn: (span: Span) => T | Promise<T>,
  options?: Omit<StartSpanOptions, "attributes">,
): Promise<T> {
  const span = tracing.startSpan(name, { ...options, attributes });
  try {
    return await runInContext(deriveContext(currentContext(), { span }), () => fn(span));
  } catch (error) {
    span.fail(error);
    throw error;
  } finally {
    span.end();
  }
}

function isSampled(sink: SpanSink | undefined, parent: SpanContext | null, traceId: string): boolean {
  if (isLocal(parent)) return parent.sampled;
  if (sink) return sink.isSampled(parent, traceId);
  return parent !== null && parent.sampled;
}

function kindsOf({ SpanKind: { INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER } }: OtelApiParts) {
  return { internal: INTERNAL, server: SERVER, client: CLIENT, producer: PRODUCER, consumer: CONSUMER };
}

function contextOf(parent: SpanContext | null, api: OtelApiParts): OtelApi.Context {
  const { ROOT_CONTEXT, trace } = api;
  if (parent === null) return ROOT_CONTEXT;
  if (parent instanceof ExportedSpan) return trace.setSpan(ROOT_CONTEXT, parent.otel);
  return trace.setSpanContext(ROOT_CONTEXT, toOtelContext(parent, api));
}

function toOtelLink({ span, attributes = {} }: SpanLink, api: OtelApiParts): OtelApi.Link {
  return { context: toOtelContext(span, api, !isLocal(span)), attributes };
}
