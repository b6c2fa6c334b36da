import type { LogDestination } from "../logger/pino.ts";

/** Lines go to each of two places; a flush waits for both. */
export class TeeLog implements LogDestination {
  readonly #first: LogDestination;
  readonly #second: LogDestination;

  constructor(first: LogDestination, second: LogDestination) {
    this.#first = first;
    this.#second = second;
  }

  write(line: string): void {
    this.#first.write(line);
    this.#second.write(line);
  }

  flush(done: (error?: Error | null) => void): void {
    const first = this.#first;
    const second = this.#second;
    const flushSecond = (error?: Error | null): void => {
      if (second.flush) second.flush((other) => done(error ?? other));
      else done(error);
    };
    if (first.flush) first.flush(flushSecond);
    else flushSecond();
  }

  flushSync(): void {
    this.#first.flushSync?.();
    this.#second.flushSync?.();
  }

  get linesLost(): number {
    return (this.#first.linesLost ?? 0) + (this.#second.linesLost ?? 0);
  }
}
