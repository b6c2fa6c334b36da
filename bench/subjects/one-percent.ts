// The requests that a subject's work is done in: spans of one in a hundred are recorded.
import * as api from "@opentelemetry/api";
import { TracerProvider } from "@opentelemetry/sdk-trace";
import { createTracing, type Span } from "@plinth/kernel";

const provider = new TracerProvider();

export const tracing = createTracing({
  sink: {
    api,
    getTracer: (name) => provider.getTracer(name),
    isSampled: (caller) => caller?.sampled ?? false,
    useTraceId: () => {},
  },
});

const parent = { traceId: "1".repeat(32), spanId: "2".repeat(16) };
const spans: readonly Span[] = Array.from({ length: 100 }, (_, index) =>
  tracing.startSpan("request", { kind: "server", parent: { ...parent, sampled: index === 0 } }),
);
let turn = 0;

/** That of the next request. */
export function nextSpan(): Span | undefined {
  return spans[turn++ % spans.length];
}
