import type { Metrics } from "@plinth/kernel";
import type { Generation } from "./generation.ts";

/**
 * Gauges of what is open and known right now, read at each scrape.
 * @param current - The generation that new requests begin with.
 */
export function observeState(metrics: Metrics, current: () => Generation, inFlight: () => number): void {
  metrics.gauge({
    name: "gateway_requests_in_flight",
    help: "Requests being served.",
    collect: (gauge) => gauge.set({}, inFlight()),
  });
  metrics.gauge({
    name: "gateway_upstream_instances",
    help: "Instances of each service, by whether requests are sent to them.",
    labels: ["service", "state"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { service, seats } of current().pools.values()) {
        const ejected = seats.filter((seat) => seat.ejected).length;
        gauge.set({ service, state: "ejected" }, ejected);
        gauge.set({ service, state: "in_use" }, seats.length - ejected);
      }
    },
  });
  metrics.gauge({
    name: "gateway_upstream_connections",
    help: "Open connections to the instances of each service.",
    labels: ["service"],
    collect: (gauge) => {
      for (const { service, seats } of current().pools.values()) {
        gauge.set(
          { service },
          seats.reduce((sum, { member }) => sum + member.upstream.connections, 0),
        );
      }
    },
  });
  metrics.gauge({
    name: "gateway_upstream_requests_in_flight",
    help: "Requests that instances of each service are working on.",
    labels: ["service"],
    collect: (gauge) => {
      for (const { service, seats } of current().pools.values())
        gauge.set(
          { service },
          seats.reduce((sum, seat) => sum + seat.inFlight, 0),
        );
    },
  });
  metrics.gauge({
    name: "gateway_rate_limit_keys",
    help: "Callers that each rate limit remembers.",
    labels: ["policy"],
    collect: (gauge) => {
      for (const { name, limiter } of current().limits) gauge.set({ policy: name }, limiter.keys);
    },
  });
}
