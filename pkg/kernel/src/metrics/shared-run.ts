import { runOutsideContext } from "../context.ts";

type Work<T> = (signal: AbortSignal) => Promise<T>;

/**
 * `work` for many who want it at the same time: who asks while it runs gets what comes of that run. It is aborted when none of them waits any longer.
 *
 * @returns Rejects with the reason of the caller's own `signal` as soon as that aborts.
 */
export function shareRuns<T>(work: Work<T>): (signal?: AbortSignal) => Promise<T> {
  let current: Run<T> | undefined;
  return async (signal) => {
    signal?.throwIfAborted();
    const run = (current ??= startRun(work, (ended) => {
      if (current === ended) current = undefined;
    }));
    return signal ? run.waitUntil(signal) : run.wait();
  };
}

interface Run<T> {
  wait(): Promise<T>;
  waitUntil(signal: AbortSignal): Promise<T>;
}

/** @param onEnd - Called when nobody may join it any longer; perhaps twice. */
function startRun<T>(work: Work<T>, onEnd: (run: Run<T>) => void): Run<T> {
  const stop = new AbortController();
  // It belongs to no request, least of all to the first of them.
  const result = runOutsideContext(() => work(stop.signal)).finally(() => onEnd(run));
  result.catch(() => {}); // each who waits hears of it
  let waiting = 0;
  const run: Run<T> = {
    wait() {
      waiting += 1; // for good
      return result;
    },
    async waitUntil(signal) {
      waiting += 1;
      const { promise: left, reject } = Promise.withResolvers<never>();
      const onAbort = (): void => {
        waiting -= 1;
        if (waiting === 0) {
          onEnd(run); // who asks next gets a run of its own
          stop.abort(signal.reason);
        }
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        return await Promise.race([result, left]);
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
    },
  };
  return run;
}
