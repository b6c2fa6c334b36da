import type { Clock } from "../clock.ts";
import { messageOf } from "../errors/app-error.ts";
import { LifecycleError } from "./errors.ts";

/** A part of a start or a stop that has a limit of its own, over all the hooks in it. */
export interface Phase {
  /** Aborts at the limit, with the phase around it, and by {@link Phase.abort}. */
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
  /** Call once it is over: its limit must not fire later. */
  end(): void;
}

/** @param name - For the message: `start took longer than its limit of 60000 ms`. */
export function startPhase(clock: Clock, limitMs: number, name: string, parent?: AbortSignal): Phase {
  const controller = new AbortController();
  const timer = clock.schedule(limitMs, () =>
    controller.abort(
      new LifecycleError(
        "ERR_LIFECYCLE_TIMEOUT",
        "deadline_exceeded",
        `${name} took longer than its limit of ${limitMs} ms`,
      ),
    ),
  );
  return {
    signal: parent ? AbortSignal.any([parent, controller.signal]) : controller.signal,
    abort: (reason) => controller.abort(reason),
    end: () => timer.cancel(),
  };
}

/** For after the last hook of a start: one that ignores its signal may end well after the start was cancelled or took too long. */
export function refuseWhenOver({ signal }: Phase): void {
  if (!signal.aborted) return;
  const what = `the start was cancelled: ${messageOf(signal.reason)}`;
  throw new LifecycleError("ERR_LIFECYCLE_CANCELLED", "cancelled", what);
}
