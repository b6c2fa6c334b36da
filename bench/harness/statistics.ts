/** The middle of several rounds, with its spread, so that a reader sees how noisy the machine was. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** One value per round, in the order they were taken. */
  readonly rounds: readonly number[];
}

/** The middle value; of an even count, the mean of the middle two. `NaN` of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN;
  return (lower + upper) / 2;
}

export function spreadOf(rounds: readonly number[]): Spread {
  return { median: median(rounds), min: Math.min(...rounds), max: Math.max(...rounds), rounds };
}

/**
 * The nearest-rank percentile: the smallest value that at least `ratio` of all values do not exceed.
 *
 * @param sorted - Ascending.
 * @param ratio - Above 0, up to 1: `0.99` for p99.
 * @returns `NaN` when there are no values.
 */
export function percentile(sorted: ArrayLike<number>, ratio: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * ratio) - 1)] ?? Number.NaN;
}
