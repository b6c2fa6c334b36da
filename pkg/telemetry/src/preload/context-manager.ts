import {
  type Context,
  type ContextManager,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span as OtelSpan,
  trace,
} from "@opentelemetry/api";
import * as api from "@opentelemetry/api";
import {
  currentContext,
  deriveContext,
  fromOtelSpan,
  type RequestContext,
  runInContext,
  type SpanContext,
  toOtelSpan,
  tracingOf,
} from "@plinth/kernel";

/** Shows the context of the request being served to what is written for OpenTelemetry, and has what that sets hold for us. */
export class RequestContextManager implements ContextManager {
  /** Spans of ours by what stands for them. */
  readonly #ours = new WeakMap<OtelSpan, SpanContext>();

  active(): Context {
    const current = currentContext();
    const base = contextIn(current) ?? ROOT_CONTEXT;
    const span = current?.span;
    if (span === undefined) return trace.deleteSpan(base);
    const seen = trace.getSpan(base);
    if (seen && this.#ours.get(seen) === span) return base;
    const otel = toOtelSpan(span, api);
    this.#ours.set(otel, span);
    return trace.setSpan(base, otel);
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    context: Context,
    fn: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return runInContext(this.#derive(context), () => Reflect.apply(fn, thisArg, args));
  }

  /** Only functions: listeners of an emitter run where it emits, which Node keeps within the request. */
  bind<T>(context: Context, target: T): T {
    if (!isFunction(target)) return target;
    return new Proxy(target, {
      apply: (fn, thisArg, args: unknown[]): unknown =>
        runInContext(this.#derive(context), () => Reflect.apply(fn, thisArg, args)),
    });
  }

  enable(): this {
    return this;
  }

  disable(): this {
    return this;
  }

  #derive(context: Context): RequestContext {
    const outer = currentContext();
    const otel = trace.getSpan(context);
    const derived = deriveContext(outer, { foreign: context });
    if (otel === undefined || !isSpanContextValid(otel.spanContext()))
      return Object.assign(derived, { span: undefined });
    let span = this.#ours.get(otel);
    if (span === undefined) {
      span = fromOtelSpan(otel, api, tracingOf(outer?.span));
      this.#ours.set(otel, span);
    }
    return Object.assign(derived, { span });
  }
}

function contextIn(current: RequestContext | undefined): Context | undefined {
  return isContext(current?.foreign) ? current.foreign : undefined;
}

function isContext(value: unknown): value is Context {
  return typeof value === "object" && value !== null && "getValue" in value && "setValue" in value;
}

function isFunction(value: unknown): value is (...args: unknown[]) => unknown {
  return typeof value === "function";
}
