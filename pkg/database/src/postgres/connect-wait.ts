import { backoffDelayMs, type Clock, sleep } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import { cancelledBy } from "./sqlstate.ts";

export interface ConnectWaitOptions {
  readonly clock: Clock;
  /** For how long it is tried again, in milliseconds; 0 tries once. */
  readonly connectWaitMs: number;
  readonly signal: AbortSignal | undefined;
  /** Told of the first failure, when it is going to be tried again. */
  readonly onWait: (error: DatabaseError) => void;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: () => number;
}

/** What another moment may heal. A wrong password, certificate, schema or right does not heal by itself: the start tells of it at once. */
const passing: ReadonlySet<string> = new Set([
  "ERR_DATABASE_ACQUIRE_TIMEOUT",
  "ERR_DATABASE_CONNECTION_LOST",
  "ERR_DATABASE_READ_ONLY",
  "ERR_DATABASE_UNAVAILABLE",
]);
const firstDelayMs = 100;
const maxDelayMs = 2_000;

/**
 * Tries until the server can be reached, waiting 50 ms and up to 0.1 s more, later up to 2 s more.
 * @throws what the last try threw, or {@link DatabaseError} `ERR_DATABASE_CANCELLED` when `signal` aborts.
 */
export async function untilReachable<T>(work: () => Promise<T>, options: ConnectWaitOptions): Promise<T> {
  const { clock, connectWaitMs, signal, onWait, random = Math.random } = options;
  const untilMs = clock.monotonicMs() + connectWaitMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DatabaseError) || !passing.has(error.code)) throw error;
      const delayMs = delayOf(attempt, random);
      if (clock.monotonicMs() + delayMs >= untilMs) throw error;
      if (attempt === 1) onWait(error);
      await sleep(clock, delayMs, { signal }).catch((reason: unknown) => {
        throw cancelledBy(reason);
      });
    }
  }
}

function delayOf(attempt: number, random: () => number): number {
  return firstDelayMs / 2 + backoffDelayMs(attempt, { baseDelayMs: firstDelayMs, maxDelayMs, random });
}
