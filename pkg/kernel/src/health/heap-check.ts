import type { HealthCheck } from "./check.ts";

/** What V8 tells of its heap, in bytes. */
export interface HeapUse {
  readonly used_heap_size: number;
  readonly heap_size_limit: number;
}

export interface HeapCheckOptions {
  /** Used heap over V8's limit, from 0 to 1. */
  readonly maxUsedRatio: number;
  /** Default: what V8 says. */
  readonly use?: () => HeapUse;
}

/** Degrades the app while its heap is nearly full: collecting garbage takes ever longer, and at the limit the process dies. */
export function heapCheck({ maxUsedRatio, use = heapUse }: HeapCheckOptions): HealthCheck {
  return {
    name: "heap",
    critical: false,
    run() {
      const { used_heap_size: used, heap_size_limit: limit } = use();
      if (used <= limit * maxUsedRatio) return;
      const [usedMiB, limitMiB] = [used, limit].map((bytes) => Math.round(bytes / 2 ** 20));
      throw new Error(`${usedMiB} MiB of ${limitMiB} MiB of heap are used, above a ratio of ${maxUsedRatio}`);
    },
  };
}

/** Loaded when it is first asked for: no start waits for it. */
function heapUse(): HeapUse {
  return process.getBuiltinModule("node:v8").getHeapStatistics();
}
