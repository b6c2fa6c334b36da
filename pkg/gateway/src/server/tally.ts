/**
 * Counts by four words in plain maps, for a counter that is told its totals at the scrape: one more costs a few lookups of
 * strings that are at hand, and makes no object.
 */
export class Tally {
  readonly #counts = new Map<string, Map<string, Map<string, Map<string, number>>>>();

  /** Each word must come from a small, fixed set. */
  inc(first: string, second: string, third: string, fourth: string): void {
    const fourths = within(within(within(this.#counts, first), second), third);
    fourths.set(fourth, (fourths.get(fourth) ?? 0) + 1);
  }

  each(visit: (first: string, second: string, third: string, fourth: string, total: number) => void): void {
    for (const [first, seconds] of this.#counts) {
      for (const [second, thirds] of seconds) {
        for (const [third, fourths] of thirds) {
          for (const [fourth, total] of fourths) visit(first, second, third, fourth, total);
        }
      }
    }
  }
}

function within<T>(maps: Map<string, Map<string, T>>, key: string): Map<string, T> {
  let found = maps.get(key);
  if (!found) {
    found = new Map();
    maps.set(key, found);
  }
  return found;
}
