import type { Socket } from "node:net";

/** By so much later than the instance's pause is too long the client's connection counts as standing still, in milliseconds. */
const marginMs = 1_000;

/** Until its next request a client's connection may stand still for as long as the reply may pause: its own timer must not be first. */
export function allowPause(socket: Socket | null, bodyGapMs: number): void {
  const ms = bodyGapMs + marginMs;
  if ((socket?.timeout ?? 0) < ms) socket?.setTimeout(ms);
}
