/** Hears of each statement that is sent to the server, also of those in nested transactions. */
export class StatementTap {
  #listener: ((text: string) => void) | undefined;

  tell(text: string): void {
    this.#listener?.(text);
  }

  /** Calls `listener` with each statement that `fn` runs. */
  async record<T>(listener: (text: string) => void, fn: () => Promise<T>): Promise<T> {
    this.#listener = listener;
    try {
      return await fn();
    } finally {
      this.#listener = undefined;
    }
  }
}
