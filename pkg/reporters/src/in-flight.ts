import { closedError } from "./errors.ts";

/** What a reporter has under way, and its end. */
export class InFlight {
  readonly #name: string;
  readonly #works = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  readonly #cutting = new AbortController();

  /** @param name - The reporter, for messages. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Aborts when the end begins: nothing new is begun. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Aborts when what is under way is not waited for any longer. */
  get cutting(): AbortSignal {
    return this.#cutting.signal;
  }

  /** Settles as `work` does, which {@link InFlight.end} then waits for. */
  async track(work: Promise<void>): Promise<void> {
    this.#works.add(work);
    try {
      await work;
    } finally {
      this.#works.delete(work);
    }
  }

  /**
   * Begins nothing more, and waits for what is under way; cuts it when `signal` aborts. Safe to call twice.
   */
  async end(signal: AbortSignal | undefined): Promise<void> {
    this.#closing.abort(closedError(this.#name));
    const cut = (): void => this.#cutting.abort(closedError(this.#name));
    if (signal?.aborted) cut();
    else signal?.addEventListener("abort", cut, { once: true });
    await Promise.allSettled(this.#works);
    signal?.removeEventListener("abort", cut);
  }
}
