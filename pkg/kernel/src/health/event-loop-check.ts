import { monitorEventLoopDelay } from "node:perf_hooks";
import type { HealthCheck } from "./check.ts";

/** Degrades the app while its event loop lags: callers wait, though nothing fails. Close it to stop the sampling. */
export function eventLoopCheck({ maxDelayMs }: { readonly maxDelayMs: number }): HealthCheck & { close(): void } {
  // Of its own: whoever resets one takes its window from all who read it. Several cost no more than one.
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  let isSampling = false;
  return {
    name: "event-loop",
    critical: false,
    run() {
      if (!isSampling) {
        isSampling = delay.enable(); // only now: what the start took is not asked about
        return;
      }
      const p99Ms = delay.percentile(99) / 1e6 - resolutionMs;
      delay.reset();
      if (p99Ms > maxDelayMs) {
        throw new Error(
          `the event loop was late by ${Math.round(p99Ms)} ms at p99 since the last run, above ${maxDelayMs} ms`,
        );
      }
    },
    close: () => void delay.disable(),
  };
}

/** It measures from one sample to the next, so this much is no delay. */
const resolutionMs = 20;
