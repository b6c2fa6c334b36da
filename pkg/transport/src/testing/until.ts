import assert from "node:assert/strict";

/** Resolves as soon as `condition` holds; looks again after each turn of the event loop. Fails after five seconds. */
export async function until(condition: () => boolean, what = condition.toString()): Promise<void> {
  const lastMs = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > lastMs) assert.fail(`not within five seconds: ${what}`);
    await new Promise(setImmediate);
  }
}
