import { type AppError, AppError as Errors, type Clock, randomHex, systemClock } from "@plinth/kernel";
import type { CallOptions } from "../calls.ts";

/** What holds a fake still. */
export interface FakeOptions {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Source of ids and tokens, in [0, 1). Default: secure random bytes. */
  readonly random?: () => number;
}

/** What a test may have a fake do, beside what its contract says. */
export interface FakeControl<Method extends string> {
  /** The next calls of a method fail with this before anything is done. @param times - From 1; `Infinity`: until {@link reset}. Default 1. */
  failNext(method: Method, error: AppError, times?: number): void;
  /** Every call of a method waits for this, or until it is cancelled. Undefined: no longer. */
  hold(method: Method, until: Promise<unknown> | undefined): void;
  /** How often a method was called, failures included. */
  calls(method: Method): number;
  /** Takes all failures and holds back, and counts from 0. */
  reset(): void;
}

/** What every method of a fake goes through first. */
export class Gate<Method extends string> implements FakeControl<Method> {
  readonly #failures = new Map<Method, { readonly error: AppError; left: number }>();
  readonly #holds = new Map<Method, Promise<unknown>>();
  readonly #calls = new Map<Method, number>();

  failNext(method: Method, error: AppError, times = 1): void {
    this.#failures.set(method, { error, left: times });
  }

  hold(method: Method, until: Promise<unknown> | undefined): void {
    if (until === undefined) this.#holds.delete(method);
    else this.#holds.set(method, until);
  }

  calls(method: Method): number {
    return this.#calls.get(method) ?? 0;
  }

  reset(): void {
    this.#failures.clear();
    this.#holds.clear();
    this.#calls.clear();
  }

  /** @throws AppError that the test has asked for, or `cancelled`. */
  async enter(method: Method, { signal }: CallOptions = {}): Promise<void> {
    this.#calls.set(method, this.calls(method) + 1);
    if (signal?.aborted) throw toError(signal);
    const hold = this.#holds.get(method);
    if (hold !== undefined) await raceOf(hold, signal);
    const failure = this.#failures.get(method);
    if (failure === undefined || failure.left <= 0) return;
    failure.left -= 1;
    throw failure.error;
  }
}

async function raceOf(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => signal && aborted.reject(toError(signal));
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([work, aborted.promise]);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** What a call ends with whose caller has left: the same as over a wire. */
export function toError(signal: AbortSignal): AppError {
  const reason: unknown = signal.reason;
  return Errors.from(reason, { signal });
}

/** Time and ids of one fake. */
export interface Source {
  readonly clock: Clock;
  now(): Date;
  /** Hexadecimal digits, two for each byte. */
  hex(bytes: number): string;
}

export function sourceOf({ clock = systemClock, random }: FakeOptions): Source {
  return {
    clock,
    now: () => new Date(clock.now()),
    hex: (bytes) => {
      if (random === undefined) return randomHex(bytes);
      const pairs = Array.from({ length: bytes }, () => Math.floor(random() * 256));
      return pairs.map((byte) => byte.toString(16).padStart(2, "0")).join("");
    },
  };
}
