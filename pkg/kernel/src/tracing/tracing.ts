import {
  type Context,
  ROOT_CONTEXT,
  type Span as OtelSpan,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type TracerProvider,
} from "@opentelemetry/api";
import { currentContext, deriveContext, runInContext } from "../context.ts";
import { AppError, isError } from "../errors/app-error.ts";
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
  /** Marks it as failed and records the error. */
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

const kinds = {
  internal: SpanKind.INTERNAL,
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
};

/** Where recorded spans go: an OpenTelemetry tracer provider. */
export interface SpanSink extends TracerProvider {
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

  function startSpan(
    name: string,
    { kind = "internal", parent = currentContext()?.span ?? null, attributes = {} }: StartSpanOptions = {},
  ): Span {
    const isLocal = parent instanceof ExportedSpan || parent instanceof IdSpan;
    const sampled = isLocal || !sink ? (parent?.sampled ?? false) : sink.isSampled(parent);
    if (!tracer || !sampled) return new IdSpan(parent?.traceId ?? randomHex(16), randomHex(8), sampled);
    const within = parent === null ? ROOT_CONTEXT : contextOf(parent);
    return new ExportedSpan(tracer.startSpan(name, { kind: kinds[kind], attributes, root: parent === null }, within));
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

function contextOf(parent: SpanContext): Context {
  if (parent instanceof ExportedSpan) return trace.setSpan(ROOT_CONTEXT, parent.otel);
  const { traceId, spanId, sampled } = parent;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote: true,
  });
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

class ExportedSpan implements Span {
  readonly otel: OtelSpan;
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;

  constructor(otel: OtelSpan) {
    const { traceId, spanId, traceFlags } = otel.spanContext();
    this.otel = otel;
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

  fail(error: unknown): void {
    const { code, message } = AppError.from(error);
    this.otel.setAttribute("error.type", code);
    this.otel.setStatus({ code: SpanStatusCode.ERROR, message });
    this.otel.recordException(isError(error) ? error : { name: code, message });
  }

  end(): void {
    this.otel.end();
  }
}
