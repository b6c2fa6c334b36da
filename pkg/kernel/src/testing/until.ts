import assert from "node:assert/strict";

/** How {@link until} waits. */
export interface UntilOptions {
  /** What is waited for, for the error. Default: the source of the function. */
  readonly what?: string;
  /** Longest wait, in milliseconds, above 0. Default 5_000. */
  readonly limitMs?: number;
}

/**
 * Waits for what no event tells of: looks again after each turn of the event loop.
 *
 * @param look - Says what there is; undefined or false while there is nothing yet.
 * @returns The first thing that it said.
 * @throws AssertionError with what is missing, when the time is up; and what `look` throws.
 * @example await until(() => log.withMessage("request").length === 2);
 */
export async function until<T>(
  look: () => T | Promise<T>,
  { what = look.toString(), limitMs = 5_000 }: UntilOptions = {},
): Promise<Exclude<T, undefined | false>> {
  const lastMs = performance.now() + limitMs;
  for (;;) {
    const found = await look();
    if (isThere(found)) return found;
    if (performance.now() > lastMs) assert.fail(`not within ${limitMs} ms: ${what}`);
    await new Promise(setImmediate);
  }
}

function isThere<T>(found: T): found is Exclude<T, undefined | false> {
  return found !== undefined && found !== false;
}
