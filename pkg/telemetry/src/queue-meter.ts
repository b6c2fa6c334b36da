import type { Meter, MeterProvider, ObservableCallback } from "@opentelemetry/api";
import type { Meters } from "./meters.ts";

const queueSize = "otel.sdk.processor.span.queue.size";

/** The SDK tells of its queue only through a meter: this one listens to what it drops and to how many spans wait, and to nothing else. */
export function queueMeter(
  noop: Meter,
  { dropped, watchQueue }: Pick<Meters, "dropped" | "watchQueue">,
): MeterProvider {
  // The meter that does nothing is one for the whole process: not to be changed.
  const meter: Meter = {
    createGauge: (name) => noop.createGauge(name),
    createHistogram: (name) => noop.createHistogram(name),
    createUpDownCounter: (name) => noop.createUpDownCounter(name),
    createObservableGauge: (name) => noop.createObservableGauge(name),
    createObservableCounter: (name) => noop.createObservableCounter(name),
    createObservableUpDownCounter: (name) =>
      name === queueSize
        ? { addCallback: (callback) => watchQueue(() => valueOf(callback)), removeCallback: () => {} }
        : noop.createObservableUpDownCounter(name),
    addBatchObservableCallback: () => {},
    removeBatchObservableCallback: () => {},
    createCounter: () => ({
      add: (count, attributes) => {
        if (attributes?.["error.type"] === "queue_full") dropped(count);
      },
    }),
  };
  return { getMeter: () => meter };
}

function valueOf(callback: ObservableCallback): number {
  let value = 0;
  void callback({ observe: (seen) => void (value = seen) });
  return value;
}
