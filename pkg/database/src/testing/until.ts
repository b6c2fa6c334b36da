import assert from "node:assert/strict";

const limitMs = 15_000;

/** Asks again and again until `check` says true, for 15 s at most. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineAtMs = performance.now() + limitMs;
  while (!(await check())) {
    assert.ok(performance.now() < deadlineAtMs, `after ${limitMs} ms it is not so: ${check.toString()}`);
    await new Promise(setImmediate);
  }
}

/** Asserts on what was thrown before, as `assert.throws` does. */
export function assertThrown(thrown: unknown, expected: object): void {
  assert.throws(() => {
    throw thrown;
  }, expected);
}
