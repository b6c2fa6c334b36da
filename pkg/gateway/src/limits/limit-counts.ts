import type { Metrics } from "@plinth/kernel";
import type { StoreGate } from "@plinth/resilience";

/** How a limit stood in the way of a request: it refused, would have, or could not be asked; `share`: it was asked of this process alone. */
export type LimitEvent = "refused" | "shadow" | "unavailable" | "share";

/** What limits have done, by their names, whatever documents come and go. */
export class LimitCounts {
  readonly #counts = new Map<string, Map<LimitEvent, number>>();

  constructor(metrics: Metrics, gates: readonly StoreGate[]) {
    metrics.counter({
      name: "gateway_rate_limit_events_total",
      help: "Requests that a rate limit refused, would have refused (`shadow`), could not decide on (`unavailable`), or decided on by this gateway's share alone.",
      labels: ["policy", "event"],
      collect: (counter) => {
        for (const [policy, events] of this.#counts) {
          for (const [event, total] of events) counter.set({ policy, event }, total);
        }
      },
    });
    if (gates.length === 0) return;
    metrics.gauge({
      name: "gateway_rate_limit_store_degraded",
      help: "1 while limits go without the store that gateways share, in part or altogether.",
      aggregate: "max",
      collect: (gauge) => gauge.set({}, gates.some(({ isDegraded }) => isDegraded) ? 1 : 0),
    });
    metrics.counter({
      name: "gateway_rate_limit_store_failures_total",
      help: "Questions to the store without an answer in time.",
      collect: (counter) =>
        counter.set(
          {},
          gates.reduce((total, { failures }) => total + failures, 0),
        ),
    });
  }

  count(policy: string, event: LimitEvent): void {
    let events = this.#counts.get(policy);
    if (!events) this.#counts.set(policy, (events = new Map<LimitEvent, number>()));
    events.set(event, (events.get(event) ?? 0) + 1);
  }
}
