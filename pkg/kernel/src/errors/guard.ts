import { isCancelled, isThenable } from "../app/limited.ts";
import { currentContext, deriveContext, runInContext } from "../context.ts";
import type { Span, Tracing } from "../tracing/span.ts";
import { AppError } from "./app-error.ts";
import type { ErrorBus, ErrorOrigin } from "./error-bus.ts";

export interface GuardOptions {
  /** For the reports. Default `job`. */
  readonly origin?: ErrorOrigin;
}

/** What a guarded function returns: what the function itself does, or undefined when it failed. */
export type Guarded<R> = R extends PromiseLike<infer T> ? Promise<T | undefined> : R | undefined;

interface Guard extends GuardOptions {
  readonly errors: Pick<ErrorBus, "report">;
  readonly tracing: Tracing;
}

/** See `ErrorBus.guard`. */
export function guarded<A extends readonly unknown[], R>(
  name: string,
  fn: (...args: A) => R,
  { origin = "job", errors, tracing }: Guard,
): (...args: A) => Guarded<R> {
  const failed = (thrown: unknown, span: Span | undefined): void => {
    // one that heeds a signal has done what it was told
    const severity = isCancelled(AppError.from(thrown)) ? "warning" : "error";
    const error = errors.report(thrown, { origin, severity, attributes: { task: name } });
    span?.fail(error);
    span?.end();
  };
  const attempt = (self: unknown, args: A, span: Span | undefined): unknown => {
    try {
      const result: unknown = Reflect.apply(fn, self, args);
      if (isThenable(result)) {
        return Promise.resolve(result).then(
          (value) => {
            span?.end();
            return value;
          },
          (error: unknown) => failed(error, span),
        );
      }
      span?.end();
      return result;
    } catch (error) {
      return failed(error, span);
    }
  };
  return function (this: unknown, ...args: A): Guarded<R> {
    const outer = currentContext();
    const span = outer?.span ? undefined : tracing.startSpan(name);
    const run = (): unknown => attempt(this, args, span);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what `fn` returns, or undefined
    return (span ? runInContext(deriveContext(outer, { span }), run) : run()) as Guarded<R>;
  };
}
