import { messageOf } from "../errors/app-error.ts";
import { aggregateSnapshots, type FamilySnapshot, type MetricsSnapshot } from "../metrics/snapshot.ts";

/** Of each metric so many series are kept of the dead; what comes beyond is added to its series `_overflow`. */
export const maxDeadSeries = 2_000;
const overflow = "_overflow";

/**
 * What counters and histograms had come to in workers that have ended, so that no total falls when one does. Their gauges
 * have ended with them.
 */
export class Totals {
  #dead: Promise<MetricsSnapshot> = Promise.resolve({ families: [] });
  readonly #onRefused: (message: string) => void;

  /** @param onRefused - Told of what cannot be added up. */
  constructor(onRefused: (message: string) => void) {
    this.#onRefused = onRefused;
  }

  add(last: MetricsSnapshot): void {
    const earlier = this.#dead;
    this.#dead = this.#fold(earlier, last).catch((error: unknown) => {
      this.#onRefused(messageOf(error));
      return earlier;
    });
  }

  /** What the living have, together with what the dead have had up to now. */
  async with(living: readonly MetricsSnapshot[]): Promise<MetricsSnapshot> {
    const { families } = await this.#dead;
    const dead = { families: matching(families, living) };
    return aggregateSnapshots([...living, dead], { onRefused: this.#onRefused });
  }

  async #fold(earlier: Promise<MetricsSnapshot>, { families }: MetricsSnapshot): Promise<MetricsSnapshot> {
    const last = { families: families.filter(({ type }) => type !== "gauge") };
    const dead = { families: matching((await earlier).families, [last]) };
    const together = await aggregateSnapshots([dead, last], { onRefused: this.#onRefused });
    if (together.families.every(({ series }) => series.length <= maxDeadSeries)) return together;
    const cut = { families: together.families.map(folded) };
    return aggregateSnapshots([cut], { onRefused: this.#onRefused });
  }
}

/** Those that mean the same as the newer ones of their name: after an update of the program a metric may have other labels. */
function matching(families: readonly FamilySnapshot[], newer: readonly MetricsSnapshot[]): FamilySnapshot[] {
  const meanings = new Map(newer.flatMap((each) => each.families.map((family) => [family.name, meaningOf(family)])));
  return families.filter((family) => (meanings.get(family.name) ?? meaningOf(family)) === meaningOf(family));
}

function meaningOf(family: FamilySnapshot): string {
  return JSON.stringify([family.type, family.labels, family.type === "histogram" ? family.bounds : []]);
}

/** With the same label values for all series beyond the limit. */
function folded(family: FamilySnapshot): FamilySnapshot {
  const values = family.labels.map(() => overflow);
  return family.type === "histogram"
    ? { ...family, series: family.series.map((each, index) => (index < maxDeadSeries ? each : { ...each, values })) }
    : { ...family, series: family.series.map((each, index) => (index < maxDeadSeries ? each : { ...each, values })) };
}
