import { randomFillSync } from "../node-crypto.ts";

const pool = Buffer.allocUnsafe(4_096);
let used = pool.length;

/** `bytes` random bytes (at most 64) as lower-case hex, from a pool that is filled many ids at a time. */
export function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const hex = pool.toString("hex", used, used + bytes);
  used += bytes;
  return hex;
}
