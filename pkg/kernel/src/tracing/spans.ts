import type * as OtelApi from "@opentelemetry/api";
import { AppError, isError } from "../errors/app-error.ts";
import { rootOf } from "../errors/brand.ts";
import { randomHex } from "./ids.ts";
import type { Span, SpanAttributes, Tracing } from "./span.ts";
import type { SpanContext } from "./traceparent.ts";
import { parseTracestate } from "./tracestate.ts";

/** The library itself comes with the sink: an app that exports no spans starts without it. */
export type OtelApiParts = Pick<
  typeof OtelApi,
  "ROOT_CONTEXT" | "SpanKind" | "SpanStatusCode" | "trace" | "TraceFlags"
>;

/** A span that is recorded nowhere: it carries ids, and costs no more than those. */
export class IdSpan implements Span {
  readonly traceId: string;
  readonly spanId = randomHex(8);
  readonly sampled: boolean;
  readonly traceState: string | undefined;
  /** Who made it. */
  readonly tracing: Tracing;

  constructor(traceId: string, parent: SpanContext | null, sampled: boolean, tracing: Tracing) {
    this.traceId = traceId;
    this.sampled = sampled;
    this.traceState = parent?.traceState;
    this.tracing = tracing;
  }

  setAttribute(): void {}
  setAttributes(): void {}
  rename(): void {}
  fail(): void {}
  setFailed(): void {}
  end(): void {}
}

/** Of one span. */
const maxExceptions = 100;

/** A span of OpenTelemetry. */
export class ExportedSpan implements Span {
  readonly otel: OtelApi.Span;
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
  readonly traceState: string | undefined;
  /** Who made it. */
  readonly tracing: Tracing;

  readonly #errorCode: OtelApi.SpanStatusCode;
  /** What was thrown, of the errors recorded. */
  #recorded: Set<unknown> | undefined;

  constructor(otel: OtelApi.Span, { SpanStatusCode, TraceFlags }: OtelApiParts, tracing: Tracing) {
    const { traceId, spanId, traceFlags, traceState } = otel.spanContext();
    this.otel = otel;
    this.#errorCode = SpanStatusCode.ERROR;
    this.traceId = traceId;
    this.spanId = spanId;
    this.sampled = (traceFlags & TraceFlags.SAMPLED) !== 0;
    this.traceState = traceState?.serialize() || undefined;
    this.tracing = tracing;
  }

  setAttribute(name: string, value: string | number | boolean): void {
    this.otel.setAttribute(name, value);
  }

  setAttributes(attributes: SpanAttributes): void {
    for (const name in attributes) {
      const value = attributes[name];
      if (value !== undefined) this.otel.setAttribute(name, value);
    }
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

  setFailed(type: string): void {
    this.otel.setAttribute("error.type", type);
    this.otel.setStatus({ code: this.#errorCode });
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

/** Records the error as an event of the span, once, where the span is recorded; it is not marked as failed by that. Never throws. */
export function recordException(span: SpanContext | undefined, error: AppError): void {
  if (span instanceof ExportedSpan) span.record(error);
}

/** True for a span of this process: what is below it is decided with it. */
export function isLocal(span: SpanContext | null | undefined): span is IdSpan | ExportedSpan {
  return span instanceof ExportedSpan || span instanceof IdSpan;
}

/** The span as OpenTelemetry takes it for a parent or a link. */
export function toOtelContext(
  { traceId, spanId, sampled, traceState }: SpanContext,
  { TraceFlags }: OtelApiParts,
  isRemote = true,
): OtelApi.SpanContext {
  return {
    traceId,
    spanId,
    traceFlags: sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote,
    ...(traceState === undefined ? {} : { traceState: new KeptTraceState(traceState) }),
  };
}

/** A `tracestate` as OpenTelemetry looks at it: handed on as it came, and copied by whoever adds to it. */
class KeptTraceState implements OtelApi.TraceState {
  readonly #header: string;

  constructor(header: string) {
    this.#header = header;
  }

  get(key: string): string | undefined {
    return this.#members().get(key);
  }

  /** The newest stands first. */
  set(key: string, value: string): OtelApi.TraceState {
    return this.#with([[key, value], ...this.#others(key)]);
  }

  unset(key: string): OtelApi.TraceState {
    return this.#with(this.#others(key));
  }

  serialize(): string {
    return this.#header;
  }

  #members(): Map<string, string> {
    const members = this.#header === "" ? [] : this.#header.split(",");
    return new Map(
      members.map((member) => [member.slice(0, member.indexOf("=")), member.slice(member.indexOf("=") + 1)]),
    );
  }

  #others(key: string): (readonly [string, string])[] {
    return [...this.#members()].filter(([name]) => name !== key);
  }

  #with(members: readonly (readonly [string, string])[]): OtelApi.TraceState {
    return new KeptTraceState(parseTracestate(members.map((member) => member.join("=")).join(",")) ?? "");
  }
}
