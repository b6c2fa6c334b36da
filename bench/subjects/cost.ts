// What an operation costs inside this process: time by the median of many batches, and bytes allocated on the heap.
import { getHeapStatistics } from "node:v8";
import { median } from "../harness/statistics.ts";

export interface Cost {
  /** Of one call, in microseconds. */
  readonly micros: number;
  /** Allocated by one call, in bytes: the same in every run, whatever the machine does. */
  readonly bytes: number;
}

const batchMs = 20;

/**
 * Calls `operation` for a third of the time uncounted, so that it is compiled, then in batches of some 20 ms.
 *
 * @param ms - How long in all.
 */
export async function costOf(operation: () => Promise<void>, ms: number): Promise<Cost> {
  const warmUntil = performance.now() + ms / 3;
  let calls = 0;
  const warmedFrom = performance.now();
  do {
    await operation();
    calls += 1;
  } while (performance.now() < warmUntil);
  const batch = Math.max(1, Math.round((batchMs * calls) / (performance.now() - warmedFrom)));
  const micros: number[] = [];
  const bytes: number[] = [];
  const until = performance.now() + (ms * 2) / 3;
  do {
    const allocatedBefore = getHeapStatistics().total_allocated_bytes;
    const startedAt = performance.now();
    for (let call = 0; call < batch; call += 1) await operation();
    micros.push(((performance.now() - startedAt) * 1_000) / batch);
    bytes.push((getHeapStatistics().total_allocated_bytes - allocatedBefore) / batch);
  } while (performance.now() < until);
  return { micros: median(micros), bytes: median(bytes) };
}
