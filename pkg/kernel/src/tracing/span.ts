import type { SpanContext } from "./traceparent.ts";

export interface SpanAttributes {
  readonly [name: string]: string | number | boolean | undefined;
  /** No attribute: `kind` is an option of a span, and stands behind the work in {@link Tracing.withSpan}. */
  readonly kind?: undefined;
}

/** Another span that this one has to do with without being below it: of a batch, those that its parts came with. */
export interface SpanLink {
  readonly span: SpanContext;
  readonly attributes?: SpanAttributes;
}

export interface StartSpanOptions {
  /** Default `internal`. */
  readonly kind?: "internal" | "server" | "client" | "producer" | "consumer";
  /** Default: the span of the current request; `null` begins a new trace, as a stranger's span does, which is then linked to. */
  readonly parent?: SpanContext | null;
  readonly attributes?: SpanAttributes | undefined;
  /** At most 128 are kept. Default none. */
  readonly links?: readonly SpanLink[];
}

/** One timed step of a trace. Ids are there also when nothing is exported, so that logs and replies can name the trace. */
export interface Span extends SpanContext {
  setAttribute(name: string, value: string | number | boolean): void;
  /** Each that is not `undefined`. */
  setAttributes(attributes: SpanAttributes): void;
  /** A better name, once the route is known. */
  rename(name: string): void;
  /** Marks it as failed and records the error, unless it is recorded already. */
  fail(error: unknown): void;
  /** Marks it as failed where no error says so. @param type - `error.type`, from a small fixed set: a status that was answered. */
  setFailed(type: string): void;
  /** Call once; what is set later is lost. */
  end(): void;
}

/** Makes spans at the seams that Plinth owns. Nothing is patched, nothing global is read or set. */
export interface Tracing {
  startSpan(name: string, options?: StartSpanOptions): Span;
  /** Runs `fn` inside a new span, ended when it settles and marked as failed when it throws. */
  withSpan<T>(
    name: string,
    attributes: SpanAttributes,
    fn: (span: Span) => T | Promise<T>,
    options?: Omit<StartSpanOptions, "attributes">,
  ): Promise<T>;
}
