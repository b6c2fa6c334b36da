import assert from "node:assert/strict";
import { until as untilWithin } from "@plinth/kernel/testing";

/** Asks again and again until `check` says true, for 15 s at most. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  await untilWithin(check, { limitMs: 15_000 });
}

/** Asserts on what was thrown before, as `assert.throws` does. */
export function assertThrown(thrown: unknown, expected: object): void {
  assert.throws(() => {
    throw thrown;
  }, expected);
}
