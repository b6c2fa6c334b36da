import { type Clock, sleep } from "@plinth/kernel";
import type { Generation } from "./generation.ts";

/** How long keys of issuers and instances of services are waited for: after that their requests are answered with 503 until they are there. */
const firstAnswersMs = 2_000;

export interface FirstAnswersOptions {
  readonly next: Generation;
  /** What it has too is not waited for. */
  readonly before?: Generation | undefined;
  /** Something else to wait for. */
  readonly also?: Promise<void> | undefined;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Waits a moment for what a generation has been asked for first: keys, and what the registry knows.
 * @returns Whether all of it has been answered, well or ill.
 * @throws The signal's reason when it aborts.
 */
export async function firstAnswers({ next, before, also, clock, signal }: FirstAnswersOptions): Promise<boolean> {
  const pools = [...next.pools].filter(([service, pool]) => before?.pools.get(service) !== pool);
  const services = pools.map(([, { ready }]) => ready);
  const issuers = next.issuers.filter((issuer) => before?.issuers.includes(issuer) !== true);
  const keys = issuers.map((issuer) => issuer.keys.available());
  const answered = Promise.allSettled([...services, ...keys, also]).then(() => true);
  const giveUp = new AbortController();
  const late = sleep(clock, firstAnswersMs, {
    signal: signal ? AbortSignal.any([signal, giveUp.signal]) : giveUp.signal,
  }).then(() => false);
  try {
    return await Promise.race([answered, late]);
  } finally {
    giveUp.abort(new Error("no longer waited for"));
    await Promise.allSettled([late]);
  }
}
