import { clientClosed } from "./errors.ts";

/** The calls of a channel that are under way, and how it closes: in order, once. */
export class InFlight {
  readonly #peer: string;
  readonly #cuts = new Set<(reason: Error) => void>();
  #closing: PromiseWithResolvers<void> | undefined;

  constructor(peer: string) {
    this.#peer = peer;
  }

  get size(): number {
    return this.#cuts.size;
  }

  /**
   * A call begins.
   * @param cut - Ends it with this reason.
   * @returns What to call when it is over, once.
   * @throws {@link TransportError} `ERR_RPC_CLIENT_CLOSED`.
   */
  begin(cut: (reason: Error) => void): () => void {
    if (this.#closing) throw clientClosed(this.#peer);
    this.#cuts.add(cut);
    return () => {
      this.#cuts.delete(cut);
      if (this.#cuts.size === 0) this.#closing?.resolve();
    };
  }

  /** Resolves when all calls have ended; cuts off those that are left when the signal aborts, or at once without one. */
  async close(signal: AbortSignal = AbortSignal.abort()): Promise<void> {
    if (this.#closing === undefined) {
      this.#closing = Promise.withResolvers<void>();
      if (this.#cuts.size === 0) this.#closing.resolve();
    }
    const cut = (): void => {
      for (const each of this.#cuts) each(clientClosed(this.#peer));
      // a stream whose reader asks for no more learns of its end when it does, be it never: nobody waits for that
      this.#cuts.clear();
      this.#closing?.resolve();
    };
    if (signal.aborted) cut();
    signal.addEventListener("abort", cut, { once: true });
    await this.#closing.promise;
    signal.removeEventListener("abort", cut);
  }
}
