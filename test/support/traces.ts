// Traces as a collector has them.
import assert from "node:assert/strict";
import type { CollectedSpan, Collector } from "@plinth/telemetry/testing";
import { until } from "./until.ts";

/** Of spans, by their numbers in OTLP. */
export const kinds: Readonly<Record<number, string>> = { 1: "internal", 2: "server", 3: "client" };

/**
 * Kinds and names of the spans of a trace, from the one below the caller's (`bbbbbbbbbbbbbbbb`) inwards, each below the one before.
 * @param length - Waits for so many, 20 seconds at most.
 */
export async function chainOf(collector: Collector, traceId: string, length: number): Promise<readonly string[]> {
  const spans = (): readonly CollectedSpan[] => collector.spans.filter((span) => span.traceId === traceId);
  await until(
    () => spans().length >= length,
    () => `${length} spans, not ${JSON.stringify(spans(), undefined, 1)}`,
    20_000,
  );
  const chain: string[] = [];
  for (let parent = "b".repeat(16); ;) {
    const [span, ...others] = spans().filter(({ parentSpanId }) => parentSpanId === parent);
    assert.deepEqual(others, []);
    if (span === undefined) break;
    chain.push(`${kinds[span.kind]} ${span.name}`);
    parent = span.spanId;
  }
  assert.equal(chain.length, spans().length, JSON.stringify(spans(), undefined, 1));
  return chain;
}
