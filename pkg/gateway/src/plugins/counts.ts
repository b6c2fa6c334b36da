import type { Counter, Histogram, Metrics } from "@plinth/kernel";

export type PluginOutcome = "passed" | "replied" | "rejected" | "failed" | "timeout" | "aborted";

/** Counts of what plugins are asked. */
export class PluginCounts {
  readonly #calls: Counter<"plugin" | "hook" | "outcome">;
  readonly #duration: Histogram<"plugin" | "hook">;

  constructor(metrics: Metrics) {
    this.#calls = metrics.counter({
      name: "gateway_plugin_calls_total",
      help: "Times that a plugin was asked, and what it said.",
      labels: ["plugin", "hook", "outcome"],
    });
    this.#duration = metrics.histogram({
      name: "gateway_plugin_duration_seconds",
      help: "Time that a plugin took, what it waited for included.",
      labels: ["plugin", "hook"],
    });
  }

  called(plugin: string, hook: "onRequest" | "onReply", outcome: PluginOutcome, tookMs: number): void {
    this.#calls.inc({ plugin, hook, outcome });
    this.#duration.observe({ plugin, hook }, tookMs / 1e3);
  }
}
