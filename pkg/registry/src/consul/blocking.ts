import { AppError, backoffDelayMs, type BackoffOptions, type Clock, sleep } from "@plinth/kernel";
import { Pace } from "./pace.ts";

export interface BlockingQuery {
  /** The index of the last answer; 0 asks for an answer at once. */
  readonly index: number;
  /** How long the agent may hold the query while nothing changes, in milliseconds; it adds up to a sixteenth. */
  readonly waitMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface BlockingAnswer {
  /** `X-Consul-Index`; 0 when missing or not a number. */
  readonly index: number;
}

export interface IndexLoopOptions<Answer extends BlockingAnswer> {
  readonly clock: Clock;
  readonly backoff: BackoffOptions;
  /** Ceiling for the requests, whatever the agent does. */
  readonly maxRequestsPerSecond: number;
  /** Ends the loop. Nothing is called after it. */
  readonly signal: AbortSignal;
  ask(index: number): Promise<Answer>;
  /** Called with every answer: a wake-up does not mean a change. */
  onAnswer(answer: Answer): void;
  /** The index went backwards. */
  onReset(index: number, previous: number): void;
  onFailure(error: AppError, failures: number): void;
  onRecovery(failedForMs: number): void;
}

const burst = 2;

/** Query parameters of a blocking query; none while there is no index to wait on. */
export function blockingParameters({ index, waitMs }: BlockingQuery): Record<string, string> {
  return index > 0 ? { index: String(index), wait: `${Math.ceil(waitMs)}ms` } : {};
}

/** The agent may hold it for wait + wait/16: giving up sooner would turn every quiet query into a failure. */
export function blockingTimeoutMs({ index, waitMs }: BlockingQuery, requestTimeoutMs: number): number {
  return (index > 0 ? (waitMs * 17) / 16 : 0) + requestTimeoutMs;
}

export function parseIndex(header: string | string[] | undefined): number {
  return typeof header === "string" && /^\d{1,15}$/.test(header) ? Number(header) : 0;
}

/** Asks again and again, each time from the index of the last answer, until `signal` aborts. */
export async function followIndex<Answer extends BlockingAnswer>(options: IndexLoopOptions<Answer>): Promise<void> {
  const { clock, backoff, maxRequestsPerSecond, signal } = options;
  const pace = new Pace(clock, { perSecond: maxRequestsPerSecond, burst });
  let index = 0;
  let failures = 0;
  let failingSinceMs = 0;
  while (!signal.aborted) {
    try {
      await pace.turn(signal);
      const answer = await options.ask(index);
      if (signal.aborted) return;
      const previous = index;
      index = nextIndex(answer.index, previous);
      if (answer.index < previous) options.onReset(answer.index, previous);
      if (failures > 0) options.onRecovery(clock.monotonicMs() - failingSinceMs);
      failures = 0;
      options.onAnswer(answer);
    } catch (error) {
      if (signal.aborted) return;
      index = 0; // what the agent knew may be gone with it
      if (failures === 0) failingSinceMs = clock.monotonicMs();
      failures++;
      options.onFailure(AppError.from(error), failures);
      await sleep(clock, backoffDelayMs(failures, backoff), { signal }).catch(() => undefined); // cut short by the end
    }
  }
}

/**
 * The index that the next query waits on. One that went backwards means another history, after a restart or a restored
 * snapshot: begin again. 0 would not block at all, so it counts as 1.
 * @see https://developer.hashicorp.com/consul/api-docs/features/blocking#implementation-details
 */
function nextIndex(given: number, previous: number): number {
  return given < previous ? 0 : Math.max(1, given);
}
