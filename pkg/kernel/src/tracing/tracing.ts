import type * as OtelApi from "@opentelemetry/api";
import { currentContext, deriveContext, runInContext } from "../context.ts";
import { AppError, isError } from "../errors/app-error.ts";
import { rootOf } from "../errors/brand.ts";
import { randomHex } from "./ids.ts";
import type { SpanContext } from "./traceparent.ts";

export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

export interface StartSpanOptions {
  /** Default `internal`. */
  readonly kind?: "internal" | "server" | "client" | "producer" | "consumer";
  /** Default: the span of the current request; `null` begins a new trace. */
  readonly parent?: SpanContext | null;
  readonly attributes?: SpanAttributes;
}

/** One timed step of a trace. Ids are there also when nothing is exported, so that logs and replies can name the trace. */
export interface Span extends SpanContext {
  setAttribute(name: string, value: string | number | boolean): void;
  /** A better name, once the route is known. */
  rename(name: string): void;
  /** Marks it as failed and records the error, unless it is recorded already. */
  fail(error: unknown): void;
  /** Call once; what is set later is lost. */
  end(): void;
}

/** Makes spans at the seams that Plinth owns. Nothing is patched, nothing global is read or set. */
export interface Tracing {
  startSpan(name: string, options?: StartSpanOptions): Span;
  /** Runs `fn` inside a new span, ended when it settles and marked as failed when it throws. */
  withSpan<T>(name: string, options: StartSpanOptions, fn: (span: Span) => T | Promise<T>): Promise<T>;
}

/** The library itself comes with the sink: an app that exports no spans starts without it. */
type OtelApiParts = Pick<typeof OtelApi, "ROOT_CONTEXT" | "SpanKind" | "SpanStatusCode" | "trace" | "TraceFlags">;

/** Where recorded spans go: an OpenTelemetry tracer provider. */
export interface SpanSink extends OtelApi.TracerProvider {
  /** The copy of `@opentelemetry/api` that the provider stands on. */
  readonly api: OtelApiParts;
  /**
   * Whether to record a new span of this process, before anything is spent on it.
   * @param caller - The span of another process that it continues; null when it begins a trace.
   */
  isSampled(caller: SpanContext | null): boolean;
}

/**
 * @param sink - For instance of `@plinth/telemetry`. Without one, spans only carry ids, unsampled, or as the caller sampled them.
 */
export function createTracing({ sink }: { readonly sink?: SpanSink | undefined } = {}): Tracing {
  const tracer = sink?.getTracer("plinth");
  const kinds = sink && kindsOf(sink.api);

  function startSpan(
    name: string,
    { kind = "internal", parent = currentContext()?.span ?? null, attributes = {} }: StartSpanOptions = {},
  ): Span {
    const isLocal = parent instanceof ExportedSpan || parent instanceof IdSpan;
    const sampled = isLocal || !sink ? (parent?.sampled ?? false) : sink.isSampled(parent);
    if (!sink || !tracer || !kinds || !sampled)
      return new IdSpan(parent?.traceId ?? randomHex(16), randomHex(8), sampled);
    const within = contextOf(parent, sink.api);
    const options = { kind: kinds[kind], attributes, root: parent === null };
    return new ExportedSpan(tracer.startSpan(name, options, within), sink.api);
  }

  return {
    startSpan,
    async withSpan(name, spanOptions, fn) {
      const span = startSpan(name, spanOptions);
      try {
        return await runInContext(deriveContext(currentContext(), { span }), () => fn(span));
      } catch (error) {
        span.fail(error);
        throw error;
      } finally {
        span.end();
      }
    },
  };
}

/** Records the error as an event of the span, once, where the span is recorded; it is not marked as failed by that. Never throws. */
export function recordException(span: SpanContext | undefined, error: AppError): void {
  if (span instanceof ExportedSpan) span.record(error);
}

function kindsOf({ SpanKind: { INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER } }: OtelApiParts) {
  return { internal: INTERNAL, server: SERVER, client: CLIENT, producer: PRODUCER, consumer: CONSUMER };
}

function contextOf(
  parent: SpanContext | null,
  { ROOT_CONTEXT, trace, TraceFlags: { NONE, SAMPLED } }: OtelApiParts,
): OtelApi.Context {
  if (parent === null) return ROOT_CONTEXT;
  if (parent instanceof ExportedSpan) return trace.setSpan(ROOT_CONTEXT, parent.otel);
  const { traceId, spanId, sampled } = parent;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: sampled ? SAMPLED : NONE, isRemote: true });
}

class IdSpan implements Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;

  constructor(traceId: string, spanId: string, sampled: boolean) {
    this.traceId = traceId;
    this.spanId = spanId;
    this.sampled = sampled;
  }

  setAttribute(): void {}
  rename(): void {}
  fail(): void {}
  end(): void {}
}

/** Of one span. */
const maxExceptions = 100;

class ExportedSpan implements Span {
  readonly otel: OtelApi.Span;
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;

  readonly #errorCode: OtelApi.SpanStatusCode;
  /** What was thrown, of the errors recorded. */
  #recorded: Set<unknown> | undefined;

  constructor(otel: OtelApi.Span, { SpanStatusCode, TraceFlags }: OtelApiParts) {
    const { traceId, spanId, traceFlags } = otel.spanContext();
    this.otel = otel;
    this.#errorCode = SpanStatusCode.ERROR;
    this.traceId = traceId;
    this.spanId = spanId;
    this.sampled = (traceFlags & TraceFlags.SAMPLED) !== 0;
  }

  setAttribute(name: string, value: string | number | boolean): void {
    this.otel.setAttribute(name, value);
  }

  rename(name: string): void {
    this.otel.updateName(name);
  }

  fail(thrown: unknown): void {
    const error = AppError.from(thrown);
    this.otel.setAttribute("error.type", error.code);
    this.otel.setStatus({ code: this.#errorCode, message: error.message });
    this.record(error);
  }

  record(error: AppError): void {
    const root = rootOf(error);
    const recorded = (this.#recorded ??= new Set());
    if (recorded.has(root) || recorded.size >= maxExceptions) return;
    recorded.add(root);
    try {
      this.otel.recordException(isError(root) ? root : { name: error.code, message: error.message });
    } catch {
      // an error with fields that throw
    }
  }

  end(): void {
    this.otel.end();
  }
}
