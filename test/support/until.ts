// Waiting for something that another process does and that no event tells of.
import { setTimeout as delay } from "node:timers/promises";

const pollMs = 20;

/**
 * Asks again and again until `check` says true.
 *
 * @param what - What is missing, for the error.
 * @throws When `limitMs` have passed.
 */
export async function until(
  check: () => boolean | Promise<boolean>,
  what: string | (() => string),
  limitMs: number,
): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!(await check())) {
    if (performance.now() > deadlineMs) {
      throw new Error(`not within ${limitMs} ms: ${typeof what === "string" ? what : what()}`);
    }
    await delay(pollMs);
  }
}
