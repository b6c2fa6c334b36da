import { AppError, type Clock, requireNumber, systemClock, withDefaults } from "@plinth/kernel";
import { abortable } from "../abortable.ts";
import { closedError, duplicateError } from "../errors.ts";
import { type Feed, singleSet } from "../feed.ts";
import { guardListener } from "../guard-listener.ts";
import { requireServiceName, toInstance } from "../instance.ts";
import type {
  FollowOptions,
  Instance,
  InstanceSet,
  NewInstance,
  RegisterOptions,
  Registration,
  Registry,
  RegistryListener,
  RegistryStats,
  RegistryView,
  ResolveOptions,
  ServicesOptions,
  ServiceSummary,
  WatchOptions,
} from "../registry.ts";
import { SnapshotFile } from "../snapshot/snapshot-file.ts";
import { summaryOf } from "../states.ts";
import { Subscriptions } from "../subscriptions.ts";
import { Lookup } from "./lookup.ts";
import { refresh } from "./refresh.ts";
import { isList, listed, requireSources, type StaticServices, type StaticSource } from "./sources.ts";
import { StaticRegistration } from "./static-registration.ts";

export interface StaticRegistryOptions {
  /** Where the instances of each service are. One that is not named here has none. */
  readonly services: StaticServices;
  /** Names are looked up again after so long at the latest, and when their TTL has passed, in milliseconds, 1_000 or more. Default 30_000. */
  readonly refreshMs?: number | undefined;
  /** A shorter TTL counts as this, in milliseconds, above 0. Default 1_000. */
  readonly minRefreshMs?: number | undefined;
  /** How long a name must have no records before its last instances are dropped, in milliseconds, 0 or more. Default 6_000. */
  readonly emptyConfirmMs?: number | undefined;
  /** Limit of one question to one name server, in milliseconds, above 0; each is asked twice. Default 2_000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Name servers as `address` or `address:port`. Default: those of the system. */
  readonly nameServers?: readonly string[] | undefined;
  /** A file that keeps what is known of services, for a start without name servers, as for Consul. Default: none is kept. */
  readonly snapshotFile?: string | undefined;
  /** What is older in it is not used, in milliseconds, 1_000 or more. Default 86_400_000, a day. */
  readonly snapshotMaxAgeMs?: number | undefined;
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Told what happens. Default: nobody. */
  readonly onEvent?: RegistryListener | undefined;
}

type Resolved = {
  readonly [K in Exclude<keyof StaticRegistryOptions, "services" | "nameServers" | "snapshotFile">]-?: NonNullable<
    StaticRegistryOptions[K]
  >;
};

export const staticDefaults: Resolved = Object.freeze({
  refreshMs: 30_000,
  minRefreshMs: 1_000,
  emptyConfirmMs: 6_000,
  requestTimeoutMs: 2_000,
  snapshotMaxAgeMs: 86_400_000,
  clock: systemClock,
  random: Math.random,
  onEvent: () => {},
});

export interface StaticRegistry extends Registry {
  /**
   * Takes other services in place of those before; who follows them is told. When it throws, all stays as it was.
   * @throws As {@link createStaticRegistry}.
   */
  replace(services: StaticServices): void;
}

/**
 * A registry of services whose places are written down, or stand in DNS. Registering is accepted and tells nobody.
 * It keeps the last known addresses while names cannot be looked up.
 *
 * @throws {@link RegistryError} `ERR_REGISTRY_INSTANCE`, {@link OptionError} `ERR_OPTION_RANGE`, naming the field.
 * @example createStaticRegistry({ services: { notes: { dns: "notes.internal", ports: { http: 3000 } } } })
 */
export function createStaticRegistry(options: StaticRegistryOptions): StaticRegistry {
  return new ListedRegistry(options);
}

class ListedRegistry implements StaticRegistry {
  readonly #options: Resolved;
  readonly #nameServers: readonly string[] | undefined;
  readonly #snapshot: SnapshotFile | undefined;
  readonly #subscriptions: Subscriptions;
  readonly #registrations = new Map<string, StaticRegistration>();
  /** How to end what keeps a feed current. */
  readonly #sources = new Map<Feed, () => void>();
  #services: ReadonlyMap<string, StaticSource>;
  #closed = false;

  constructor({ services, nameServers, snapshotFile: file, ...given }: StaticRegistryOptions) {
    const options = withDefaults(staticDefaults, given);
    requireRanges(options);
    requireSources(services);
    const onEvent = guardListener(options.onEvent);
    this.#options = { ...options, onEvent };
    this.#nameServers = nameServers;
    this.#services = new Map(Object.entries(services));
    const { clock, snapshotMaxAgeMs: maxAgeMs } = options;
    if (file !== undefined) this.#snapshot = new SnapshotFile({ file, maxAgeMs, source: "static", clock, onEvent });
    this.#subscriptions = new Subscriptions(clock, (feed) => this.#keepCurrent(feed), {
      snapshot: this.#snapshot,
      onEvent,
    });
  }

  replace(services: StaticServices): void {
    this.#requireOpen();
    requireSources(services);
    const before = this.#services;
    this.#services = new Map(Object.entries(services));
    for (const [feed, stop] of this.#sources) {
      const { service } = feed;
      if (JSON.stringify(before.get(service)) === JSON.stringify(this.#services.get(service))) continue;
      stop();
      this.#sources.set(feed, this.#begin(feed));
    }
  }

  async register(given: NewInstance, { signal }: RegisterOptions = {}): Promise<Registration> {
    signal?.throwIfAborted();
    this.#requireOpen();
    const instance = toInstance(given);
    const { id } = instance;
    if (this.#registrations.has(id)) throw duplicateError(instance);
    const registration = new StaticRegistration(instance, () => this.#registrations.delete(id));
    this.#registrations.set(id, registration);
    return registration;
  }

  async resolve(service: string, { signal, filter }: ResolveOptions = {}): Promise<InstanceSet> {
    signal?.throwIfAborted();
    this.#requireOpen();
    requireServiceName(service);
    const known = this.#subscriptions.current(service, filter);
    if (known) return known;
    try {
      const instances = await abortable(this.#read(service), signal);
      return singleSet(this.#options.clock, service, instances, { filter });
    } catch (error) {
      const remembered = signal?.aborted ? undefined : this.#subscriptions.remembered(service, filter);
      if (remembered) return remembered;
      throw error;
    }
  }

  watch(service: string, options?: WatchOptions): AsyncIterable<InstanceSet> {
    return this.#subscriptions.watch(service, options);
  }

  follow(service: string, options?: FollowOptions): RegistryView {
    return this.#subscriptions.follow(service, options);
  }

  async services({ signal }: ServicesOptions = {}): Promise<readonly ServiceSummary[]> {
    signal?.throwIfAborted();
    this.#requireOpen();
    return Promise.all(
      [...this.#services.keys()].toSorted().map(async (service) => {
        const { instances } = await this.resolve(service, { signal });
        return summaryOf(
          service,
          instances.map(({ status: state, tags }) => ({ state, tags })),
        );
      }),
    );
  }

  stats(): RegistryStats {
    return { registrations: [...this.#registrations.values()], services: this.#subscriptions.followed() };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#registrations.values()].map((registration) => registration.deregister()));
    this.#subscriptions.close();
    await this.#snapshot?.close();
  }

  #keepCurrent(feed: Feed): () => void {
    this.#sources.set(feed, this.#begin(feed));
    return () => {
      this.#sources.get(feed)?.();
      this.#sources.delete(feed);
    };
  }

  #begin(feed: Feed): () => void {
    const { requestTimeoutMs: timeoutMs, onEvent } = this.#options;
    const source = this.#services.get(feed.service) ?? [];
    if (!isList(source)) return refresh(feed, source, { ...this.#options, timeoutMs, servers: this.#nameServers });
    const set = feed.publish(listed(feed.service, source));
    if (set) onEvent({ type: "changed", set });
    return () => {};
  }

  async #read(service: string): Promise<readonly Instance[]> {
    const source = this.#services.get(service) ?? [];
    if (isList(source)) return listed(service, source);
    const { requestTimeoutMs: timeoutMs } = this.#options;
    try {
      return (await new Lookup(service, source, { timeoutMs, servers: this.#nameServers }).read()).instances;
    } catch (error) {
      throw AppError.from(error);
    }
  }

  #requireOpen(): void {
    if (this.#closed) throw closedError("the registry");
  }
}

function requireRanges(options: Resolved): void {
  requireNumber("refreshMs", options.refreshMs, { min: 1_000 });
  requireNumber("minRefreshMs", options.minRefreshMs, { min: Number.MIN_VALUE });
  requireNumber("emptyConfirmMs", options.emptyConfirmMs, { min: 0 });
  requireNumber("requestTimeoutMs", options.requestTimeoutMs, { min: Number.MIN_VALUE });
  requireNumber("snapshotMaxAgeMs", options.snapshotMaxAgeMs, { min: 1_000 });
}
