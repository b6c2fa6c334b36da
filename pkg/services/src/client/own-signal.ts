import type { Clock, Scheduled } from "@plinth/kernel";

/** A signal that aborts when another does, or by itself before. */
export class OwnSignal {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal;
  #timer: Scheduled | undefined;

  constructor(outer: AbortSignal) {
    this.#outer = outer;
    if (outer.aborted) this.#onAbort();
    else outer.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: Error): void {
    this.#controller.abort(reason);
  }

  /** Aborts by itself after so long. */
  after(clock: Clock, ms: number, reason: () => Error): this {
    this.#timer = clock.schedule(ms, () => this.abort(reason()), { keepAlive: false });
    return this;
  }

  /** Listens to nobody any more. Safe to call twice. */
  end(): void {
    this.#timer?.cancel();
    this.#outer.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = (): void => this.#controller.abort(this.#outer.reason);
}

/** What `work` comes to. @throws the signal's reason when that aborts first. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    aborted.reject(signal.reason);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
