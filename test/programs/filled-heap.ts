// Loaded ahead of a program: at a SIGUSR2 it fills HEAP_SHARE of the HEAP_MB that its old objects may have, bit by bit, and makes garbage
// besides from then on, as a program does that has much to do; at the next it lets go of all.
import { getHeapSpaceStatistics } from "node:v8";

const share = Number(process.env["HEAP_SHARE"]);
const limitBytes = Number(process.env["HEAP_MB"]) * 2 ** 20;
const everyMs = 10;
let held: object[] = [];
let garbage: object[] = [];
let isFull = false;
let timer: NodeJS.Timeout | undefined;

function turn(): void {
  if (!isFull && oldBytes() < limitBytes * share) {
    for (let count = 0; count < 20_000; count++) held.push({ count, text: `held ${held.length}` });
    return;
  }
  if (!isFull) process.stdout.write("filled\n");
  isFull = true;
  // A part of it lives for long enough to become old.
  garbage.push(Array.from({ length: 5_000 }, (_, count) => ({ count })));
  if (garbage.length > 20) garbage.splice(0, 10);
}

process.on("SIGUSR2", () => {
  if (!timer) {
    timer = setInterval(turn, everyMs);
    return;
  }
  clearInterval(timer);
  timer = undefined;
  held = [];
  garbage = [];
  isFull = false;
  process.stdout.write("emptied\n");
});

function oldBytes(): number {
  return getHeapSpaceStatistics()
    .filter(({ space_name: name }) => !name.startsWith("new_"))
    .reduce((sum, { space_used_size: bytes }) => sum + bytes, 0);
}
