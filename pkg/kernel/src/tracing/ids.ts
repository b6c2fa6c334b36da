import { randomFillSync } from "../node-crypto.ts";

/** Random bytes are asked for many at a time, for asking costs more than the bytes, and written as digits a few at a time. */
const bytes = Buffer.allocUnsafe(16_384);
const blockBytes = 2_048;
let usedBytes = bytes.length;
let digits = "";
let used = 0;

/**
 * `count` random bytes (at most 64) as lower-case hex, from digits that are made many ids at a time. An id that is kept keeps
 * the 4 KiB that it was cut from.
 */
export function randomHex(count: number): string {
  const end = used + 2 * count;
  if (end > digits.length) {
    if (usedBytes === bytes.length) {
      randomFillSync(bytes);
      usedBytes = 0;
    }
    digits = bytes.toString("hex", usedBytes, (usedBytes += blockBytes));
    used = 2 * count;
    return digits.slice(0, used);
  }
  const id = digits.slice(used, end);
  used = end;
  return id;
}
