import { randomHex, type Span, type SpanAttributes, type StartSpanOptions, type Tracing } from "@plinth/kernel";

/** A span as a test looks at it. */
export interface RecordedSpan extends Span {
  name: string;
  readonly options: StartSpanOptions;
  readonly attributes: Record<string, unknown>;
  failure: unknown;
  ends: number;
}

/** Keeps every span, sampled. */
export class RecordingTracing implements Tracing {
  readonly spans: RecordedSpan[] = [];

  startSpan(name: string, options: StartSpanOptions = {}): RecordedSpan {
    const span: RecordedSpan = {
      name,
      options,
      attributes: { ...options.attributes },
      failure: undefined,
      ends: 0,
      traceId: options.parent?.traceId ?? randomHex(16),
      spanId: randomHex(8),
      sampled: true,
      setAttribute: (key, value) => void (span.attributes[key] = value),
      setAttributes: (attributes) => void Object.assign(span.attributes, attributes),
      rename: (better) => void (span.name = better),
      fail: (error) => void (span.failure = error),
      setFailed: (type) => void (span.failure = type),
      end: () => void span.ends++,
    };
    this.spans.push(span);
    return span;
  }

  async withSpan<T>(
    name: string,
    attributes: SpanAttributes,
    fn: (span: Span) => T | Promise<T>,
    options: StartSpanOptions = {},
  ): Promise<T> {
    return fn(this.startSpan(name, { ...options, attributes }));
  }
}
