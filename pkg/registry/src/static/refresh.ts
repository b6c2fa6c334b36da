import { AppError, backoffDelayMs, type Clock, sleep } from "@plinth/kernel";
import type { Feed } from "../feed.ts";
import { byId } from "../instance.ts";
import type { RegistryListener } from "../registry.ts";
import { Lookup, type LookupAnswer, type LookupOptions } from "./lookup.ts";
import type { DnsSource, SrvSource } from "./sources.ts";

export interface RefreshOptions extends LookupOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly emptyConfirmMs: number;
  /** For sources that say none. */
  readonly refreshMs: number;
  /** No TTL is taken for shorter, in milliseconds. */
  readonly minRefreshMs: number;
  readonly onEvent: RegistryListener;
}

const firstRetryMs = 250;
const maxRetryMs = 10_000;

/** Keeps a feed current by looking its source up again and again, until the returned function is called. */
export function refresh(feed: Feed, source: DnsSource | SrvSource, options: RefreshOptions): () => void {
  const ending = new AbortController();
  const lookup = new Lookup(feed.service, source, options);
  void new Refresher(feed, source, options).run(lookup, ending.signal);
  return () => {
    ending.abort(new Error(`the watch of ${feed.service} has ended`));
    lookup.cancel();
  };
}

class Refresher {
  readonly #feed: Feed;
  readonly #refreshMs: number;
  readonly #options: RefreshOptions;
  #failures = 0;
  #failingSinceMs = 0;
  /** When the first of a row of empty answers came, after a set with instances. */
  #emptySinceMs: number | undefined;

  constructor(feed: Feed, { refreshMs }: DnsSource | SrvSource, options: RefreshOptions) {
    this.#feed = feed;
    this.#refreshMs = refreshMs ?? options.refreshMs;
    this.#options = options;
  }

  async run(lookup: Lookup, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      let delayMs: number;
      try {
        const answer = await lookup.read();
        if (signal.aborted) return;
        delayMs = this.#take(answer);
      } catch (error) {
        if (signal.aborted) return;
        delayMs = this.#fail(AppError.from(error));
      }
      await sleep(clock, delayMs, { signal }).catch(() => undefined); // cut short by the end
    }
  }

  /** Returns when to ask again. */
  #take({ instances, ttlMs, error }: LookupAnswer): number {
    const { clock, random, minRefreshMs, onEvent } = this.#options;
    const { service } = this.#feed;
    if (error) return this.#fail(error, instances);
    if (this.#failures > 0)
      onEvent({ type: "watch_recovered", service, failedForMs: clock.monotonicMs() - this.#failingSinceMs });
    this.#failures = 0;
    const untilConfirmedMs = this.#untilConfirmedMs(instances.length);
    if (untilConfirmedMs > 0) {
      this.#feed.doubt();
      return untilConfirmedMs;
    }
    this.#emptySinceMs = undefined;
    this.#publish(instances);
    const heldMs = Math.min(this.#refreshMs, Math.max(ttlMs, minRefreshMs));
    return heldMs * (0.9 + 0.1 * random()); // fewer at once, none later than allowed
  }

  /** A name that is gone is more often a mistake in a zone than the end of a service: the last instances stay until a later answer agrees. */
  #untilConfirmedMs(count: number): number {
    const { clock, emptyConfirmMs, onEvent } = this.#options;
    const known = this.#feed.current?.instances.length ?? 0;
    if (count > 0 || known === 0) return 0;
    const nowMs = clock.monotonicMs();
    if (this.#emptySinceMs !== undefined) return this.#emptySinceMs + emptyConfirmMs - nowMs;
    this.#emptySinceMs = nowMs;
    onEvent({ type: "empty_answer", service: this.#feed.service, known });
    return Math.max(1, emptyConfirmMs);
  }

  /** Keeps the last set; what is known of a part is shown with it. */
  #fail(error: AppError, part: LookupAnswer["instances"] = []): number {
    const { clock, random, onEvent } = this.#options;
    if (this.#failures++ === 0) this.#failingSinceMs = clock.monotonicMs();
    this.#emptySinceMs = undefined;
    if (part.length > 0 && !this.#isCurrent(part)) this.#publish(part);
    this.#feed.doubt({ error });
    onEvent({ type: "watch_failed", service: this.#feed.service, error, failures: this.#failures });
    return backoffDelayMs(this.#failures, { baseDelayMs: firstRetryMs, maxDelayMs: maxRetryMs, random });
  }

  #isCurrent(instances: LookupAnswer["instances"]): boolean {
    return JSON.stringify(this.#feed.current?.instances) === JSON.stringify(instances.toSorted(byId));
  }

  #publish(instances: LookupAnswer["instances"]): void {
    const set = this.#feed.publish(instances);
    if (set) this.#options.onEvent({ type: "changed", set });
  }
}
