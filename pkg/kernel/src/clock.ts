/** Where time comes from. Everything that waits or measures takes one, so that tests hold time still. */
export interface Clock {
  /** Milliseconds since the Unix epoch; may jump when the machine's clock is set. For stamps, never for durations. */
  now(): number;
  /** Milliseconds since some fixed moment, never going back. For durations and limits. */
  monotonicMs(): number;
  /**
   * Runs `task` once, `delayMs` milliseconds from now, unless cancelled.
   * @param options.keepAlive - Whether the process waits for it. Default true.
   */
  schedule(delayMs: number, task: () => void, options?: { readonly keepAlive?: boolean }): Scheduled;
}

export interface Scheduled {
  /** Safe to call twice and after the task has run. */
  cancel(): void;
}

export const systemClock: Clock = Object.freeze({
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  schedule(delayMs: number, task: () => void, options: { readonly keepAlive?: boolean } = {}): Scheduled {
    const timer = setTimeout(task, delayMs);
    if (options.keepAlive === false) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
});

/**
 * Resolves after `delayMs` milliseconds of `clock`.
 * @throws the signal's reason, at once, when `signal` aborts first.
 */
export function sleep(
  clock: Clock,
  delayMs: number,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { signal } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      scheduled.cancel();
      reject(signal?.reason);
    };
    const scheduled = clock.schedule(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
