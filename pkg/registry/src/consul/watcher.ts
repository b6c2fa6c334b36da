import { AppError, backoffDelayMs, type BackoffOptions, type Clock, sleep } from "@plinth/kernel";
import type { Feed } from "../feed.ts";
import type { RegistryListener } from "../registry.ts";
import type { ConsulClient, HealthAnswer } from "./client.ts";
import { parseEntries } from "./entry.ts";
import { Pace } from "./pace.ts";

export interface WatcherOptions {
  readonly client: ConsulClient;
  readonly clock: Clock;
  readonly waitMs: number;
  readonly emptyConfirmMs: number;
  readonly maxRequestsPerSecond: number;
  readonly backoff: BackoffOptions;
  readonly onEvent: RegistryListener;
}

/** Keeps a feed current by blocking queries, until the returned function is called. */
export function watchService(feed: Feed, options: WatcherOptions): () => void {
  const controller = new AbortController();
  const watcher = new Watcher(feed, options, controller.signal);
  void watcher.run();
  return () => controller.abort(new Error(`the watch of ${feed.service} has ended`));
}

const burst = 2;

class Watcher {
  readonly #feed: Feed;
  readonly #options: WatcherOptions;
  readonly #signal: AbortSignal;
  readonly #pace: Pace;
  #index = 0;
  #failures = 0;
  #failingSinceMs = 0;
  /** When the first of a row of empty answers came, after a set with instances. */
  #emptySinceMs: number | undefined;
  #skipped: ReadonlySet<string> = new Set();

  constructor(feed: Feed, options: WatcherOptions, signal: AbortSignal) {
    this.#feed = feed;
    this.#options = options;
    this.#signal = signal;
    this.#pace = new Pace(options.clock, { perSecond: options.maxRequestsPerSecond, burst });
  }

  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        await this.#pace.turn(this.#signal);
        this.#take(await this.#ask());
      } catch (error) {
        if (this.#signal.aborted) return;
        await this.#fail(AppError.from(error));
      }
    }
  }

  #ask(): Promise<HealthAnswer> {
    const { client, waitMs } = this.#options;
    const untilConfirmedMs =
      this.#emptySinceMs === undefined ? Infinity : Math.max(1, this.#emptyLeftMs(this.#emptySinceMs));
    return client.passingInstances(this.#feed.service, {
      index: this.#index,
      waitMs: Math.min(waitMs, untilConfirmedMs),
      signal: this.#signal,
    });
  }

  #take(answer: HealthAnswer): void {
    const { service } = this.#feed;
    const { clock, onEvent } = this.#options;
    const { instances, skipped } = parseEntries(service, answer.entries);
    this.#index = this.#nextIndex(answer.index);
    if (this.#failures > 0) {
      onEvent({ type: "watch_recovered", service, failedForMs: clock.monotonicMs() - this.#failingSinceMs });
      this.#failures = 0;
    }
    const newlySkipped = skipped.filter(({ id }) => !this.#skipped.has(id));
    if (newlySkipped.length > 0) onEvent({ type: "entries_skipped", service, skipped: newlySkipped });
    this.#skipped = new Set(skipped.map(({ id }) => id));
    if (this.#isDoubtful(instances.length)) {
      this.#feed.doubt();
      return;
    }
    const changed = this.#feed.publish(instances);
    if (changed) onEvent({ type: "changed", set: changed });
  }

  /**
   * The index that the next query waits on. One that went backwards means another history, after a restart or a restored
   * snapshot: begin again. 0 would not block at all, so it counts as 1.
   * @see https://developer.hashicorp.com/consul/api-docs/features/blocking#implementation-details
   */
  #nextIndex(given: number): number {
    if (given >= this.#index) return Math.max(1, given);
    this.#options.onEvent({ type: "watch_reset", service: this.#feed.service, index: given, previous: this.#index });
    return 0;
  }

  /**
   * All gone at once is more often an agent that forgot than a service that ended: the last instances stay until the
   * answer has been empty for a while and a second read says so too.
   */
  #isDoubtful(count: number): boolean {
    const known = this.#feed.current?.instances.length ?? 0;
    if (count > 0 || known === 0) {
      this.#emptySinceMs = undefined;
      return false;
    }
    if (this.#emptySinceMs === undefined) {
      this.#emptySinceMs = this.#options.clock.monotonicMs();
      return true;
    }
    if (this.#emptyLeftMs(this.#emptySinceMs) > 0) return true;
    this.#emptySinceMs = undefined;
    return false;
  }

  #emptyLeftMs(sinceMs: number): number {
    return sinceMs + this.#options.emptyConfirmMs - this.#options.clock.monotonicMs();
  }

  async #fail(failure: AppError): Promise<void> {
    const { clock, backoff, onEvent } = this.#options;
    this.#index = 0; // what the agent knew may be gone with it
    this.#emptySinceMs = undefined;
    if (this.#failures === 0) this.#failingSinceMs = clock.monotonicMs();
    this.#failures++;
    this.#feed.doubt(failure);
    onEvent({ type: "watch_failed", service: this.#feed.service, error: failure, failures: this.#failures });
    await sleep(clock, backoffDelayMs(this.#failures, backoff), { signal: this.#signal }).catch(() => undefined); // cut short by the end of the watch
  }
}
