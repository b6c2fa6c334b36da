import { randomFillSync } from "../node-crypto.ts";

const bytes = Buffer.allocUnsafe(2_048);
let digits = "";
let used = 0;

/**
 * `count` random bytes (at most 64) as lower-case hex, from digits that are made many ids at a time. An id that is kept keeps
 * the 4 KiB that it was cut from.
 */
export function randomHex(count: number): string {
  const end = used + 2 * count;
  if (end > digits.length) {
    digits = randomFillSync(bytes).toString("hex");
    used = 2 * count;
    return digits.slice(0, used);
  }
  const id = digits.slice(used, end);
  used = end;
  return id;
}
