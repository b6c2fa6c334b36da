import type { Clock } from "../clock.ts";
import { AppError, isError, messageOf } from "../errors/app-error.ts";
import { LifecycleError } from "./errors.ts";
import { LazyContext } from "./hook-context.ts";
import type { StopContext } from "./provider.ts";

/** What a hook that was cancelled has to settle, in milliseconds. */
export const cancelGraceMs = 1_000;
/** Of a chain of causes so many are looked at. */
const maxCauses = 10;

export interface LimitedOptions<T> {
  readonly clock: Clock;
  /** For messages: `start of "database"`. */
  readonly what: () => string;
  readonly limitMs: number;
  /** Cancels it: the work gets {@link cancelGraceMs} to settle, then it is abandoned. Absent: nothing does. */
  readonly signal?: AbortSignal;
  /** Milliseconds that cancelled work has to settle. */
  readonly cancelGraceMs: number;
  /** What the work throws is passed on as it is, not wrapped in words about it. Default false. */
  readonly passErrors?: boolean;
  /** For {@link StopContext}. Default true. */
  readonly hasStarted?: boolean;
  /** Called with what the work returns after it was abandoned, so that it can be released. */
  readonly onLate?: (value: T) => void;
}

/**
 * Runs one hook under its limit. Work that overruns is told by its signal, named in the error, and no longer waited for;
 * of work that is done when it returns no time is taken.
 * @throws {@link LifecycleError} `ERR_LIFECYCLE_TIMEOUT` when it was abandoned, `ERR_LIFECYCLE_CANCELLED`,
 *   or `ERR_LIFECYCLE_HOOK` with the cause; what the work throws when `passErrors` is set.
 */
export async function limited<T>(
  work: (context: StopContext) => T | Promise<T>,
  options: LimitedOptions<T>,
): Promise<T> {
  if (options.signal) refuseWhenAborted(options.signal, options.what);
  const context = new LazyContext(undefined, options.hasStarted);
  let result: T | Promise<T>;
  let isPending: boolean;
  try {
    result = work(context);
    isPending = isThenable(result);
  } catch (cause) {
    throw toError(cause, options);
  }
  return isPending ? withinLimit(Promise.resolve(result), context, options) : result;
}

/** The same for work that has begun: also when it is cancelled already it is waited for, so that nothing is lost. */
export async function withinLimit<T>(
  running: PromiseLike<T>,
  context: LazyContext,
  options: LimitedOptions<T>,
): Promise<T> {
  const { clock, what, limitMs, signal, cancelGraceMs, onLate } = options;
  const givenUp = Promise.withResolvers<never>();
  let abandoned = false;
  const abandon = (how: string): void => {
    const error = new LifecycleError(
      "ERR_LIFECYCLE_TIMEOUT",
      "deadline_exceeded",
      `${what()} ${how} and was abandoned`,
    );
    abandoned = true;
    context.abort(error);
    givenUp.reject(error);
  };
  const timer = clock.schedule(limitMs, () => abandon(`took longer than its limit of ${limitMs} ms`));
  let grace: { cancel(): void } | undefined;
  const onAbort = (): void => {
    context.abort(signal?.reason);
    grace = clock.schedule(cancelGraceMs, () => abandon(`did not end within ${cancelGraceMs} ms of being cancelled`));
  };
  if (signal?.aborted) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  const run = Promise.resolve(running).catch((cause: unknown) => {
    throw toError(cause, options);
  });
  run.then(
    (value) => abandoned && onLate?.(value),
    () => undefined, // reported by the race below, or abandoned and reported as such
  );
  try {
    return await Promise.race([run, givenUp.promise]);
  } finally {
    timer.cancel();
    grace?.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Whether `await` would wait for it: also a proxy that answers to every name, which then never settles. */
export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  const mayBe = (typeof value === "object" && value !== null) || typeof value === "function";
  return mayBe && typeof Reflect.get(value, "then") === "function";
}

function toError<T>(cause: unknown, { what, signal, passErrors }: LimitedOptions<T>): unknown {
  if (signal?.aborted) {
    const obeyed = isCausedBy(cause, signal.reason);
    // Where something else has failed, what this one throws of its own is a second failure; where somebody wants the end, it follows from that.
    if (obeyed || !isFailure(signal.reason)) {
      const threw = obeyed ? "" : `; it threw: ${messageOf(cause)}`;
      const why = `${what()} was cancelled: ${messageOf(signal.reason)}${threw}`;
      return new LifecycleError("ERR_LIFECYCLE_CANCELLED", "cancelled", why, { cause });
    }
  }
  return passErrors === true ? cause : hookError(what(), cause);
}

/** Whether a hook that throws this has only done what its signal asked for. */
function isCausedBy(thrown: unknown, reason: unknown): boolean {
  let error = thrown;
  for (let depth = 0; depth < maxCauses && error !== undefined; depth++) {
    if (error === reason || isCancelled(error)) return true;
    // `signal.addEventListener("abort", reject)` rejects with the event
    if (error instanceof Event && error.type === "abort") return true;
    if (!isError(error)) return false;
    if (error.name === "AbortError") return true;
    error = error.cause;
  }
  return false;
}

export function isCancelled(error: unknown): boolean {
  return AppError.is(error) && error.status === "cancelled";
}

function isFailure(reason: unknown): boolean {
  return AppError.is(reason) && reason.status !== "cancelled";
}

/** @param what - `stop of "database"`. */
export function hookError(what: string, cause: unknown): LifecycleError {
  const text = `${what} failed: ${messageOf(cause)}`;
  return new LifecycleError("ERR_LIFECYCLE_HOOK", "failed_precondition", text, { cause });
}

/** @throws {@link LifecycleError} `ERR_LIFECYCLE_CANCELLED` when the signal has aborted. */
export function refuseWhenAborted(signal: AbortSignal, what: () => string): void {
  if (!signal.aborted) return;
  const why = `${what()} did not run: ${messageOf(signal.reason)}`;
  throw new LifecycleError("ERR_LIFECYCLE_CANCELLED", "cancelled", why);
}
