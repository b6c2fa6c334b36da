import { backoffDelayMs } from "@plinth/kernel";

export interface BeatOptions {
  readonly ttlMs: number;
  readonly random: () => number;
}

/** So many that a stall of the event loop as long as liveness allows, ten seconds, and a beat before it fit into the default TTL. */
const beatsPerTtl = 4;
const firstRetryMs = 100;

/** Milliseconds to the next heartbeat, with a tenth of jitter, so that those of many processes stay spread out. */
export function untilBeatMs({ ttlMs, random }: BeatOptions): number {
  return (ttlMs / beatsPerTtl) * (0.9 + 0.2 * random());
}

/**
 * Milliseconds to the next try: soon at first, then as rarely as heartbeats, so that an agent that is away meets no more than one that is
 * there. Not more rarely: one that is back counts what it knew of us as critical until it hears of us.
 *
 * @param failures - In a row, 1 or more.
 */
export function untilTryMs(failures: number, { ttlMs, random }: BeatOptions): number {
  const beatMs = ttlMs / beatsPerTtl;
  if (firstRetryMs * 2 ** (failures - 1) >= beatMs) return untilBeatMs({ ttlMs, random });
  return backoffDelayMs(failures, { baseDelayMs: firstRetryMs, maxDelayMs: beatMs, random });
}
