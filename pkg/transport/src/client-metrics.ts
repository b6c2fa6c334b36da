import type { Gauge, Histogram, Metrics } from "@plinth/kernel";

/** The metrics of one kind of client, shared by all peers of an app. */
export interface ClientMetrics {
  readonly duration: Histogram<"peer" | "method" | "status">;
  readonly active: ActiveByPeer;
}

/** How much is under way with each peer. */
export class ActiveByPeer {
  readonly #counts = new Map<string, number>();

  count(peer: string, by: 1 | 0 | -1): void {
    this.#counts.set(peer, (this.#counts.get(peer) ?? 0) + by);
  }

  collect(gauge: Gauge<"peer">): void {
    for (const [peer, count] of this.#counts) gauge.set({ peer }, count);
  }
}

/** Declares metrics with the first client of an app: a name is declared once. */
export function oncePerApp<T>(declare: (metrics: Metrics) => T): (metrics: Metrics) => T {
  const known = new WeakMap<Metrics, T>();
  return (metrics) => {
    const own = known.get(metrics) ?? declare(metrics);
    known.set(metrics, own);
    return own;
  };
}
