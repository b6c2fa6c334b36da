import type { StopContext } from "./provider.ts";

/** The context of one call of a hook. Its signal is made when it is asked for: most hooks never do. */
export class LazyContext implements StopContext {
  readonly hasStarted: boolean;
  readonly #around: (() => AbortSignal) | undefined;
  #own: AbortController | undefined;
  #signal: AbortSignal | undefined;
  #aborted: { readonly reason: unknown } | undefined;

  /** @param around - The signal of what the hook belongs to; the hook's own aborts with it. */
  constructor(around?: () => AbortSignal, hasStarted = true) {
    this.#around = around;
    this.hasStarted = hasStarted;
  }

  get signal(): AbortSignal {
    if (!this.#signal) {
      this.#own = new AbortController();
      if (this.#aborted) this.#own.abort(this.#aborted.reason);
      this.#signal = this.#around ? AbortSignal.any([this.#around(), this.#own.signal]) : this.#own.signal;
    }
    return this.#signal;
  }

  /** The first reason counts. */
  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#own?.abort(reason);
  }
}
