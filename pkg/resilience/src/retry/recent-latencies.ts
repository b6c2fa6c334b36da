/** Steps of the scale for each doubling: a latency is known to within 9 %. */
const stepsPerDoubling = 8;
/** From a sixteenth of a millisecond to some 18 minutes. */
const doublings = 24;
const leastMs = 1 / 16;
const size = doublings * stepsPerDoubling;
/** A quantile is worked out anew after so many latencies. */
const refreshEvery = 32;

/** How long calls took lately, as a histogram of two generations; each lasts for one window. Nothing is allocated. */
export class RecentLatencies {
  readonly #windowMs: number;
  #young = new Uint32Array(size);
  #old = new Uint32Array(size);
  #youngCount = 0;
  #oldCount = 0;
  #turnAtMs: number;
  #staleness = refreshEvery;
  #known: number | undefined;

  constructor(windowMs: number, nowMs: number) {
    this.#windowMs = windowMs;
    this.#turnAtMs = nowMs + windowMs;
  }

  add(latencyMs: number, nowMs: number): void {
    this.#advance(nowMs);
    const step = Math.floor(Math.log2(Math.max(latencyMs, leastMs) / leastMs) * stepsPerDoubling);
    const index = Math.min(size - 1, step);
    this.#young[index] = (this.#young[index] ?? 0) + 1;
    this.#youngCount++;
    this.#staleness++;
  }

  /** The upper end of the step that the quantile lies in; undefined while fewer than `minCount` are known. Ask for one quantile only. */
  quantile(quantile: number, minCount: number, nowMs: number): number | undefined {
    this.#advance(nowMs);
    const count = this.#youngCount + this.#oldCount;
    if (count < minCount) return undefined;
    if (this.#staleness >= refreshEvery || this.#known === undefined) {
      this.#known = this.#find(Math.ceil(quantile * count));
      this.#staleness = 0;
    }
    return this.#known;
  }

  #find(rank: number): number {
    let seen = 0;
    let index = 0;
    while (index < size - 1) {
      seen += (this.#young[index] ?? 0) + (this.#old[index] ?? 0);
      if (seen >= rank) break;
      index++;
    }
    return leastMs * 2 ** ((index + 1) / stepsPerDoubling);
  }

  #advance(nowMs: number): void {
    if (nowMs < this.#turnAtMs) return;
    const isLongAgo = nowMs >= this.#turnAtMs + this.#windowMs;
    const spare = this.#old.fill(0);
    this.#old = isLongAgo ? this.#young.fill(0) : this.#young;
    this.#oldCount = isLongAgo ? 0 : this.#youngCount;
    this.#young = spare;
    this.#youngCount = 0;
    this.#turnAtMs = nowMs + this.#windowMs;
    this.#known = undefined;
  }
}
