/** Where time comes from. Everything that waits or measures takes one, so that tests hold time still. */
export interface Clock {
  /** Milliseconds since the Unix epoch; may jump when the machine's clock is set. For stamps, never for durations. */
  now(): number;
  /** Milliseconds since some fixed moment, never going back. For durations and limits. */
  monotonicMs(): number;
  /**
   * Runs `task` once, `delayMs` milliseconds from now, unless cancelled. `Infinity` never runs it.
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
    if (delayMs <= maxTimerMs) {
      const timeout = setTimeout(task, delayMs);
      if (options.keepAlive === false) timeout.unref();
      return { cancel: () => clearTimeout(timeout) };
    }
    const wait = (leftMs: number): NodeJS.Timeout => {
      // what is longer than a timer can be is waited for in turns
      const next = leftMs > maxTimerMs ? () => void (timer = wait(leftMs - maxTimerMs)) : task;
      const started = setTimeout(next, Math.min(leftMs, maxTimerMs));
      return options.keepAlive === false ? started.unref() : started;
    };
    let timer = wait(delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
});

/** The longest wait of `setTimeout`; a longer one it would cut to 1 ms. */
const maxTimerMs = 2 ** 31 - 1;

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
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- the reason is the aborting side's
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      scheduled.cancel();
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- the reason is the aborting side's
      reject(signal?.reason);
    };
    const scheduled = clock.schedule(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
