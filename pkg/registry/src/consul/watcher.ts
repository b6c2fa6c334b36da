import type { AppError, BackoffOptions, Clock } from "@plinth/kernel";
import { RegistryError } from "../errors.ts";
import type { Feed } from "../feed.ts";
import type { RegistryListener } from "../registry.ts";
import { followIndex } from "./blocking.ts";
import type { ConsulClient, HealthAnswer } from "./client.ts";
import { parseEntries } from "./entry.ts";
import { staleError } from "./read.ts";

export interface WatcherOptions {
  readonly client: ConsulClient;
  readonly clock: Clock;
  readonly waitMs: number;
  readonly emptyConfirmMs: number;
  readonly maxStaleMs: number;
  /** How long instances are kept that only the silence of their machines speaks against. */
  readonly silentKeepMs: number;
  readonly maxRequestsPerSecond: number;
  readonly backoff: BackoffOptions;
  readonly onEvent: RegistryListener;
}

/** While answers are too old: a server that has found its leader again does not say so before the next question. */
const staleWaitMs = 5_000;

/** Keeps a feed current by blocking queries, until the returned function is called. */
export function watchService(feed: Feed, options: WatcherOptions): () => void {
  const controller = new AbortController();
  const watcher = new Watcher(feed, options, controller.signal);
  void watcher.run();
  return () => controller.abort(new Error(`the watch of ${feed.service} has ended`));
}

class Watcher {
  readonly #feed: Feed;
  readonly #options: WatcherOptions;
  readonly #signal: AbortSignal;
  /** When the first of a row of empty answers came, after a set with instances. */
  #emptySinceMs: number | undefined;
  /** When the first of a row of answers came that had only instances of silent machines. */
  #silentSinceMs: number | undefined;
  /** When the first of a row of answers came that were too old. */
  #staleSinceMs: number | undefined;
  #skipped: ReadonlySet<string> = new Set();

  constructor(feed: Feed, options: WatcherOptions, signal: AbortSignal) {
    this.#feed = feed;
    this.#options = options;
    this.#signal = signal;
  }

  run(): Promise<void> {
    const { clock, backoff, maxRequestsPerSecond, onEvent } = this.#options;
    const { service } = this.#feed;
    return followIndex({
      clock,
      backoff,
      maxRequestsPerSecond,
      signal: this.#signal,
      ask: (index) => this.#ask(index),
      onAnswer: (answer) => this.#take(answer),
      onReset: (index, previous) => onEvent({ type: "watch_reset", service, index, previous }),
      onFailure: (error, failures) => this.#fail(error, failures),
      onRecovery: (failedForMs) => onEvent({ type: "watch_recovered", service, failedForMs }),
    });
  }

  async #ask(index: number): Promise<HealthAnswer> {
    const { client, waitMs } = this.#options;
    const { service } = this.#feed;
    const untilConfirmedMs =
      this.#emptySinceMs === undefined ? Infinity : Math.max(1, this.#emptyLeftMs(this.#emptySinceMs));
    const untilFreshMs = this.#staleSinceMs === undefined ? Infinity : staleWaitMs;
    const silentLeftMs = this.#silentLeftMs();
    const untilDroppedMs = silentLeftMs > 0 ? silentLeftMs : Infinity;
    const answer = await client.healthEntries(service, {
      index,
      waitMs: Math.min(waitMs, untilConfirmedMs, untilFreshMs, untilDroppedMs),
      signal: this.#signal,
    });
    // What a token may not read looks like what is gone.
    const isOdd = answer.filteredByAcls || (this.#feed.current?.instances.length ?? 0) > 0;
    if (answer.entries.length === 0 && isOdd) await client.requireReadable(service, { signal: this.#signal });
    return answer;
  }

  #take(answer: HealthAnswer): void {
    const { service } = this.#feed;
    const { onEvent } = this.#options;
    const { instances, silent, states, skipped } = parseEntries(service, answer.entries);
    const newlySkipped = skipped.filter(({ id }) => !this.#skipped.has(id));
    if (newlySkipped.length > 0) onEvent({ type: "entries_skipped", service, skipped: newlySkipped });
    this.#skipped = new Set(skipped.map(({ id }) => id));
    const error = staleError(answer, service, this.#options.maxStaleMs);
    this.#tellStaleness(answer, error);
    if (error) {
      this.#feed.seed(instances, { ageMs: answer.lastContactMs ?? 0, states });
      this.#feed.doubt({ error });
      return;
    }
    const isSilent = instances.length === 0 && silent.length > 0;
    if (!isSilent) this.#silentSinceMs = undefined;
    else this.#silentSinceMs ??= this.#options.clock.monotonicMs();
    if (isSilent && this.#silentLeftMs() > 0) {
      this.#emptySinceMs = undefined;
      this.#feed.seed(silent, { ageMs: 0, states });
      this.#feed.doubt({ error: silentError(service, silent.length), states });
      return;
    }
    if (this.#isDoubtful(instances.length)) {
      this.#feed.doubt({ states });
      return;
    }
    const changed = this.#feed.publish(instances, states);
    if (changed) onEvent({ type: "changed", set: changed });
  }

  /**
   * A server that has lost the leader goes on answering with what it knew. What is known here is at least as new, so that is kept;
   * only where nothing is known, an old answer is better than none.
   */
  #tellStaleness({ lastContactMs = 0 }: HealthAnswer, error: AppError | undefined): void {
    const { clock, onEvent } = this.#options;
    const { service } = this.#feed;
    const sinceMs = this.#staleSinceMs;
    if (error) {
      this.#emptySinceMs = undefined;
      this.#staleSinceMs = sinceMs ?? clock.monotonicMs();
      onEvent({ type: "stale_answer", service, lastContactMs });
      if (sinceMs === undefined) onEvent({ type: "stale_answers", service, error });
    } else if (sinceMs !== undefined) {
      this.#staleSinceMs = undefined;
      onEvent({ type: "fresh_answers", service, staleForMs: clock.monotonicMs() - sinceMs });
    }
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
      this.#options.onEvent({ type: "empty_answer", service: this.#feed.service, known });
      return true;
    }
    if (this.#emptyLeftMs(this.#emptySinceMs) > 0) return true;
    this.#emptySinceMs = undefined;
    return false;
  }

  #emptyLeftMs(sinceMs: number): number {
    return sinceMs + this.#options.emptyConfirmMs - this.#options.clock.monotonicMs();
  }

  /** Above 0 while there are only instances of silent machines, and these are kept. */
  #silentLeftMs(): number {
    const sinceMs = this.#silentSinceMs;
    return sinceMs === undefined ? 0 : sinceMs + this.#options.silentKeepMs - this.#options.clock.monotonicMs();
  }

  #fail(error: AppError, failures: number): void {
    this.#emptySinceMs = undefined;
    this.#feed.doubt({ error });
    this.#options.onEvent({ type: "watch_failed", service: this.#feed.service, error, failures });
  }
}

/** As long as another instance is left, those of silent machines get no traffic. Where none is, they are likelier to live than all at once dead. */
function silentError(service: string, count: number): RegistryError {
  const message = `the machines of all instances of ${service} that are left, ${count}, are silent in Consul; the last known ones stay for registry.silentKeepMs. Look at the agents there`;
  return new RegistryError("ERR_REGISTRY_UNCONFIRMED", "unavailable", message);
}
