import assert from "node:assert/strict";

/** Asks again and again until `check` says true. The test's own limit ends it otherwise. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise(setImmediate);
}

/** Asserts on what was thrown before, as `assert.throws` does. */
export function assertThrown(thrown: unknown, expected: object): void {
  assert.throws(() => {
    throw thrown;
  }, expected);
}
