/** Slices that a window is counted in. */
export const slices = 10;

/**
 * Two counts over the last window, in slices of a tenth of it that leave as a whole: what is counted stays for at least nine tenths
 * of the window and at most all of it. Plain numbers, nothing is allocated after it was made.
 */
export class RollingCounts {
  readonly #sliceMs: number;
  readonly #first = new Uint32Array(slices);
  readonly #second = new Uint32Array(slices);
  #newest = 0;
  #newestEndsMs: number;
  first = 0;
  second = 0;

  constructor(windowMs: number, nowMs: number) {
    this.#sliceMs = windowMs / slices;
    this.#newestEndsMs = nowMs + this.#sliceMs;
  }

  /** Forgets what has left the window. @param nowMs - Never less than in the call before. */
  advance(nowMs: number): void {
    if (nowMs < this.#newestEndsMs) return;
    const past = 1 + Math.floor((nowMs - this.#newestEndsMs) / this.#sliceMs);
    const left = Math.min(past, slices);
    for (let step = 0; step < left; step++) {
      const index = this.#newest + 1 === slices ? 0 : this.#newest + 1;
      this.first -= this.#first[index] ?? 0;
      this.second -= this.#second[index] ?? 0;
      this.#first[index] = 0;
      this.#second[index] = 0;
      this.#newest = index;
    }
    this.#newestEndsMs += past * this.#sliceMs;
  }

  /** Of the slice that it is now. Advance it first. */
  get newestFirst(): number {
    return this.#first[this.#newest] ?? 0;
  }

  /** Of the slice that it is now. Advance it first. */
  get newestSecond(): number {
    return this.#second[this.#newest] ?? 0;
  }

  /** Advance it first. */
  addFirst(): void {
    this.#first[this.#newest] = (this.#first[this.#newest] ?? 0) + 1;
    this.first++;
  }

  /** Advance it first. */
  addSecond(): void {
    this.#second[this.#newest] = (this.#second[this.#newest] ?? 0) + 1;
    this.second++;
  }

  clear(nowMs: number): void {
    this.#first.fill(0);
    this.#second.fill(0);
    this.first = 0;
    this.second = 0;
    this.#newestEndsMs = nowMs + this.#sliceMs;
  }
}
