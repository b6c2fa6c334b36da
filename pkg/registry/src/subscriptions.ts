import { type Clock, runOutsideContext } from "@plinth/kernel";
import { closedError } from "./errors.ts";
import { Feed, type Line, singleSet } from "./feed.ts";
import { requireServiceName } from "./instance.ts";
import type { SnapshotFile } from "./snapshot/snapshot-file.ts";
import { toSelection } from "./filter.ts";
import type {
  FollowedService,
  FollowOptions,
  InstanceFilter,
  InstanceSet,
  RegistryListener,
  RegistryView,
  WatchOptions,
} from "./registry.ts";

/** Starts to keep a feed current; returns how to end that. */
export type FeedSource = (feed: Feed) => () => void;

interface Entry {
  readonly feed: Feed;
  readonly stop: () => void;
  /** How to end each. */
  readonly subscribers: Set<() => void>;
  /** How many read each line. */
  readonly readers: Map<Line, number>;
}

export interface SubscriptionsOptions {
  /** What services begin with, and what is written of them. */
  readonly snapshot?: SnapshotFile | undefined;
  readonly onEvent?: RegistryListener;
}

/** One source for each service however many follow or watch it: opened with the first, ended with the last. */
export class Subscriptions {
  readonly #clock: Clock;
  readonly #source: FeedSource;
  readonly #snapshot: SnapshotFile | undefined;
  readonly #onEvent: RegistryListener;
  readonly #entries = new Map<string, Entry>();
  #closed = false;

  constructor(clock: Clock, source: FeedSource, { snapshot, onEvent = () => {} }: SubscriptionsOptions = {}) {
    this.#clock = clock;
    this.#source = source;
    this.#snapshot = snapshot;
    this.#onEvent = onEvent;
  }

  /** What is known without asking. */
  current(service: string, filter?: InstanceFilter): InstanceSet | undefined {
    const entry = this.#entries.get(service);
    if (!entry && filter) toSelection(filter); // throws before anything is asked
    return entry?.feed.glance(filter);
  }

  /** What the snapshot on disk has, for when asking has failed. */
  remembered(service: string, filter?: InstanceFilter): InstanceSet | undefined {
    const kept = this.#snapshot?.read(service);
    return kept && singleSet(this.#clock, service, kept.instances, { filter, stale: true, ageMs: kept.ageMs });
  }

  follow(service: string, { filter }: FollowOptions = {}): RegistryView {
    const first = Promise.withResolvers<void>();
    const closed = (): void => first.reject(closedError(`the view of ${service}`));
    first.promise.catch(() => undefined); // nobody has to wait for it
    const { line, leave } = this.#join(service, filter, closed);
    const stopListening = line.listen(() => first.resolve());
    if (line.current) first.resolve();
    return {
      service,
      get current() {
        return line.current;
      },
      ready: first.promise,
      close: () => {
        stopListening();
        leave();
        closed();
      },
    };
  }

  async *watch(service: string, { signal, filter }: WatchOptions = {}): AsyncGenerator<InstanceSet, void, undefined> {
    if (signal?.aborted) return;
    const over = new AbortController();
    let wake = (): void => {};
    const end = (): void => {
      over.abort();
      wake();
    };
    const { line, leave } = this.#join(service, filter, end);
    const stopListening = line.listen(() => wake());
    signal?.addEventListener("abort", end, { once: true });
    try {
      let seen: { readonly revision: number; readonly stale: boolean } = { revision: 0, stale: false };
      while (!over.signal.aborted) {
        const { current } = line;
        if (current && (current.revision !== seen.revision || current.stale !== seen.stale)) {
          seen = current;
          yield current;
        } else {
          const woken = Promise.withResolvers<void>();
          wake = woken.resolve;
          await woken.promise;
        }
      }
    } finally {
      signal?.removeEventListener("abort", end);
      stopListening();
      leave();
    }
  }

  followed(): FollowedService[] {
    return [...this.#entries.values()].map(({ feed: { service, current, states, error } }) => ({
      service,
      current,
      states,
      error,
    }));
  }

  /** Ends all watches and views; what they showed last stays readable. */
  close(): void {
    this.#closed = true;
    for (const { subscribers } of this.#entries.values()) for (const end of subscribers) end();
    for (const { stop } of this.#entries.values()) stop();
    this.#entries.clear();
  }

  #join(
    service: string,
    filter: InstanceFilter | undefined,
    end: () => void,
  ): { readonly line: Line; readonly leave: () => void } {
    requireServiceName(service);
    if (filter) toSelection(filter); // throws before anything is begun
    if (this.#closed) throw closedError("the registry");
    let entry = this.#entries.get(service);
    if (!entry) {
      const feed = this.#newFeed(service);
      entry = { feed, stop: runOutsideContext(() => this.#source(feed)), subscribers: new Set(), readers: new Map() };
      this.#entries.set(service, entry);
    }
    const { feed, stop, subscribers, readers } = entry;
    const line = feed.line(filter);
    subscribers.add(end);
    readers.set(line, (readers.get(line) ?? 0) + 1);
    const leave = (): void => {
      if (!subscribers.delete(end)) return;
      const left = (readers.get(line) ?? 0) - 1;
      readers.set(line, left);
      if (left < 1) {
        readers.delete(line);
        feed.drop(line);
      }
      if (subscribers.size > 0 || this.#entries.get(service)?.feed !== feed) return;
      this.#entries.delete(service);
      stop();
    };
    return { line, leave };
  }

  #newFeed(service: string): Feed {
    const snapshot = this.#snapshot;
    if (!snapshot) return new Feed(service, this.#clock);
    const feed = new Feed(service, this.#clock, (instances, isChange) => snapshot.note(service, instances, isChange));
    const kept = snapshot.read(service);
    if (kept) {
      feed.seed(kept.instances, { ageMs: kept.ageMs });
      this.#onEvent({ type: "snapshot_served", service, instances: kept.instances.length, ageMs: kept.ageMs });
    }
    return feed;
  }
}
