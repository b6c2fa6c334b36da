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
        const out = seats.filter((seat) => seat.ejected).length;
        const failing = seats.filter((seat) => seat.ejectedFor === "health_check").length;
        gauge.set({ service, state: "failing_probes" }, failing);
        gauge.set({ service, state: "ejected" }, out - failing);
        gauge.set({ service, state: "in_use" }, seats.length - out);
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
    name: "gateway_upstream_requests_waiting",
    help: "Requests that wait for a place at an instance of each service with `caps`.",
    labels: ["service"],
    collect: (gauge) => {
      for (const { service, waiting } of current().pools.values()) gauge.set({ service }, waiting);
    },
  });
  metrics.gauge({
    name: "gateway_upstream_breakers",
    help: "Breakers, one for each instance and route, that are not closed.",
    labels: ["service", "state"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { service, trippedBreakers } of current().pools.values())
        for (const state of ["open", "recovering"] as const)
          gauge.set({ service, state }, trippedBreakers.filter((circuit) => circuit.state === state).length);
    },
  });
  metrics.gauge({
    name: "gateway_upstream_panicking",
    help: "Whether so many instances of a service are out that all get requests: 1 when it is so.",
    labels: ["service"],
    aggregate: "max",
    collect: (gauge) => {
      for (const { service, isPanicking } of current().pools.values()) gauge.set({ service }, isPanicking ? 1 : 0);
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
