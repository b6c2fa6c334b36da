import type { Counter, Logger, Metrics } from "@plinth/kernel";
import type { PoolEvents } from "../upstream/pool-options.ts";

/** Counts what the probes of instances find, and says when one of them goes out or comes back. */
export class PoolObserver implements PoolEvents {
  readonly #probes: Counter<"service" | "outcome">;
  readonly #log: Logger | undefined;

  constructor(metrics: Metrics, log: Logger | undefined) {
    this.#log = log;
    this.#probes = metrics.counter({
      name: "gateway_upstream_probes_total",
      help: "Active health checks of instances.",
      labels: ["service", "outcome"],
    });
  }

  probed(service: string, passed: boolean): void {
    this.#probes.inc({ service, outcome: passed ? "passed" : "failed" });
  }

  healthChanged(service: string, instance: string, isOut: boolean): void {
    const fields = { service, instance };
    if (isOut) this.#log?.warn("an instance fails its health checks, and gets no requests", fields);
    else this.#log?.info("an instance passes its health checks again", fields);
  }
}
