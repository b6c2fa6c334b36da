/** Callbacks that hear of something. One that throws keeps nobody else, and not the teller, from going on. */
export class Listeners<T> {
  readonly #listeners = new Set<(value: T) => void>();

  /** Returns how to end it. */
  add(listener: (value: T) => void): () => void {
    const own = (value: T): void => listener(value); // the same function may be added twice
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Calls those who listen now; who is added meanwhile is not called, who has left meanwhile neither. */
  tell(value: T): void {
    for (const listener of Array.from(this.#listeners)) {
      if (!this.#listeners.has(listener)) continue;
      try {
        listener(value);
      } catch (error) {
        // as for an event target: an uncaught exception, not a fault of whoever told
        process.nextTick(() => {
          throw error;
        });
      }
    }
  }
}
