/** Tries again that are saved up. */
const maxSaved = 10;

/** Keeps retries to a share of what is sent, so that an outage is not answered with a multiple of the load. */
export class RetryBudget {
  readonly #ratio: number;
  #saved = maxSaved;

  /** @param ratio - Retries for each batch in the long run, 0 or more. Some 10 are free at the start and after a calm time. */
  constructor(ratio: number) {
    this.#ratio = ratio;
    if (ratio === 0) this.#saved = 0;
  }

  /** A batch is about to be sent. */
  deposit(): void {
    this.#saved = Math.min(maxSaved, this.#saved + this.#ratio);
  }

  /** Whether there may be a retry, which it then counts as made. */
  take(): boolean {
    if (this.#saved < 1) return false;
    this.#saved -= 1;
    return true;
  }
}
