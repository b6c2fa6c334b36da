import type { Clock } from "../clock.ts";
import { messageOf } from "../errors/app-error.ts";
import { LifecycleError } from "./errors.ts";
import type { HookContext } from "./provider.ts";

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
  /** The work has begun: when it is cancelled already, it is waited for all the same, so that nothing is lost. Default false. */
  readonly isRunning?: boolean;
  /** Called with what the work returns after it was abandoned, so that it can be released. */
  readonly onLate?: (value: T) => void;
}

/**
 * Runs one hook under its limit. Work that overruns is told by its signal, named in the error, and no longer waited for.
 * @throws {@link LifecycleError} `ERR_LIFECYCLE_TIMEOUT` when it was abandoned, `ERR_LIFECYCLE_CANCELLED`,
 *   or `ERR_LIFECYCLE_HOOK` with the cause; what the work throws when `passErrors` is set.
 */
export async function limited<T>(
  work: (context: HookContext) => T | Promise<T>,
  options: LimitedOptions<T>,
): Promise<T> {
  const { clock, what, limitMs, signal, cancelGraceMs, passErrors = false, isRunning = false, onLate } = options;
  if (signal && !isRunning) refuseWhenAborted(signal, what);
  const controller = new AbortController();
  const givenUp = Promise.withResolvers<never>();
  let abandoned = false;
  const abandon = (error: LifecycleError): void => {
    abandoned = true;
    controller.abort(error);
    givenUp.reject(error);
  };
  const timer = clock.schedule(limitMs, () =>
    abandon(
      new LifecycleError(
        "ERR_LIFECYCLE_TIMEOUT",
        "deadline_exceeded",
        `${what()} took longer than its limit of ${limitMs} ms and was abandoned`,
      ),
    ),
  );
  let grace: { cancel(): void } | undefined;
  const onAbort = (): void => {
    controller.abort(signal?.reason);
    grace = clock.schedule(cancelGraceMs, () =>
      abandon(
        new LifecycleError(
          "ERR_LIFECYCLE_TIMEOUT",
          "deadline_exceeded",
          `${what()} did not end within ${cancelGraceMs} ms of being cancelled and was abandoned`,
        ),
      ),
    );
  };
  if (signal?.aborted) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  const run = (async () => work({ signal: controller.signal }))().catch((cause: unknown) => {
    // A cancelled hook that stops by throwing did what it was asked to.
    if (signal?.aborted)
      throw new LifecycleError(
        "ERR_LIFECYCLE_CANCELLED",
        "cancelled",
        `${what()} was cancelled: ${messageOf(signal.reason)}`,
        { cause },
      );
    if (passErrors) throw cause;
    throw hookError(what(), cause);
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
