import type { Clock } from "../clock.ts";
import { messageOf } from "../errors/app-error.ts";

/** In milliseconds; a scraper waits ten seconds and more. */
const collectLimitMs = 1_000;

export interface CollectOptions {
  readonly clock: Clock;
  /** Told each time. */
  readonly onFailed: () => void;
  /** Told when it begins to fail. */
  readonly onFailing: (problem: string) => void;
}

/**
 * Calls `collect`, whatever it does: one that throws, rejects or hangs is a failure and takes nothing from the others. One that hangs is not called
 * again before it has returned. Whoever calls while one is within its limit shares it.
 *
 * @returns Whether the values may be shown; never rejects.
 */
export function guardCollect(
  collect: () => unknown,
  { clock, onFailed, onFailing }: CollectOptions,
): () => Promise<boolean> {
  /** Until it has returned. */
  let pending: Promise<unknown> | undefined;
  /** What the call under way comes to; whoever began it may have left. */
  let outcome: Promise<boolean> | undefined;
  let isFailing = false;
  const end = (problem?: string): boolean => {
    if (problem !== undefined) onFailed();
    if (problem !== undefined && !isFailing) onFailing(problem);
    isFailing = problem !== undefined;
    return !isFailing;
  };
  const call = async (): Promise<boolean> => {
    if (pending) return end("an earlier call has not returned");
    try {
      const result = collect();
      if (!(result instanceof Promise)) return end();
      pending = result.finally(() => (pending = undefined));
      await withinLimit(clock, pending);
      return end();
    } catch (error) {
      return end(messageOf(error));
    }
  };
  return () => (outcome ??= call().finally(() => (outcome = undefined)));
}

async function withinLimit(clock: Clock, work: Promise<unknown>): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const limit = clock.schedule(collectLimitMs, () => reject(new Error(`nothing after ${collectLimitMs} ms`)));
  try {
    await Promise.race([work, late]);
  } finally {
    limit.cancel();
  }
}
