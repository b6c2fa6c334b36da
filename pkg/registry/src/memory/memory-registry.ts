import { type Clock, requireNumber, systemClock, withDefaults } from "@plinth/kernel";
import { abortable } from "../abortable.ts";
import { closedError, duplicateError } from "../errors.ts";
import { type Feed, singleSet } from "../feed.ts";
import { guardListener } from "../guard-listener.ts";
import { requireServiceName, toInstance } from "../instance.ts";
import { askReadiness } from "../readiness.ts";
import type {
  Instance,
  InstanceSet,
  NewInstance,
  RegisterOptions,
  Registration,
  RegistrationState,
  Registry,
  RegistryListener,
  RegistryStats,
  RegistryView,
  ResolveOptions,
  WatchOptions,
} from "../registry.ts";
import { Subscriptions } from "../subscriptions.ts";
import { createMemoryStore, type MemoryStore } from "./memory-store.ts";

export interface MemoryRegistryOptions {
  /** Registries with the same store find each other's instances. Default: a store of its own. */
  readonly store?: MemoryStore | undefined;
  /** How often `isReady` of each registration is asked, and how long it may take, in milliseconds, above 0. Default 1_000. */
  readonly readinessMs?: number | undefined;
  /** Default: the system's clock. */
  readonly clock?: Clock | undefined;
  /** Told what happens. Default: nobody. */
  readonly onEvent?: RegistryListener | undefined;
}

type Resolved = {
  readonly [K in Exclude<keyof MemoryRegistryOptions, "store">]-?: NonNullable<MemoryRegistryOptions[K]>;
};

const memoryDefaults: Resolved = Object.freeze({ readinessMs: 1_000, clock: systemClock, onEvent: () => {} });

/** A registry inside one process, for development and tests: nothing else can find its instances. */
export function createMemoryRegistry(options: MemoryRegistryOptions = {}): Registry {
  return new MemoryRegistry(options);
}

class MemoryRegistry implements Registry {
  readonly #store: MemoryStore;
  readonly #readinessMs: number;
  readonly #clock: Clock;
  readonly #onEvent: RegistryListener;
  readonly #subscriptions: Subscriptions;
  readonly #registrations = new Set<MemoryRegistration>();
  #closed = false;

  constructor({ store = createMemoryStore(), ...options }: MemoryRegistryOptions) {
    const { readinessMs, clock, onEvent } = withDefaults(memoryDefaults, options);
    requireNumber("readinessMs", readinessMs, { min: Number.MIN_VALUE });
    this.#store = store;
    this.#readinessMs = readinessMs;
    this.#clock = clock;
    this.#onEvent = guardListener(onEvent);
    this.#subscriptions = new Subscriptions(clock, (feed) => this.#keepCurrent(feed));
  }

  async register(given: NewInstance, { signal, isReady }: RegisterOptions = {}): Promise<Registration> {
    signal?.throwIfAborted();
    if (this.#closed) throw closedError("the registry");
    const instance = toInstance(given);
    if (this.#store.has(instance.id)) throw duplicateError(instance);
    const registration: MemoryRegistration = new MemoryRegistration(instance, isReady, {
      store: this.#store,
      clock: this.#clock,
      readinessMs: this.#readinessMs,
      onState: (state, previous) => {
        if (state === "left") this.#registrations.delete(registration);
        this.#onEvent({ type: "registration", registration, state, previous });
      },
    });
    this.#registrations.add(registration);
    try {
      await abortable(registration.start(), signal);
    } catch (error) {
      await registration.deregister();
      throw error;
    }
    return registration;
  }

  async resolve(service: string, { signal }: ResolveOptions = {}): Promise<InstanceSet> {
    signal?.throwIfAborted();
    if (this.#closed) throw closedError("the registry");
    requireServiceName(service);
    return this.#subscriptions.current(service) ?? singleSet(this.#clock, service, this.#store.list(service));
  }

  watch(service: string, { signal }: WatchOptions = {}): AsyncIterable<InstanceSet> {
    return this.#subscriptions.watch(service, signal);
  }

  follow(service: string): RegistryView {
    return this.#subscriptions.follow(service);
  }

  stats(): RegistryStats {
    return { registrations: [...this.#registrations], services: this.#subscriptions.followed() };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#registrations].map((registration) => registration.deregister()));
    this.#subscriptions.close();
  }

  #keepCurrent(feed: Feed): () => void {
    const publish = (): void => {
      const set = feed.publish(this.#store.list(feed.service));
      if (set) this.#onEvent({ type: "changed", set });
    };
    publish();
    return this.#store.listen(feed.service, publish);
  }
}

interface MemoryRegistrationContext {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly readinessMs: number;
  readonly onState: (state: RegistrationState, previous: RegistrationState) => void;
}

class MemoryRegistration implements Registration {
  readonly instance: Instance;
  readonly error = undefined;
  readonly #isReady: RegisterOptions["isReady"];
  readonly #context: MemoryRegistrationContext;
  #state: RegistrationState = "pending";
  #next: { cancel(): void } | undefined;

  constructor(instance: Instance, isReady: RegisterOptions["isReady"], context: MemoryRegistrationContext) {
    this.instance = instance;
    this.#isReady = isReady;
    this.#context = context;
    context.store.put(instance, false); // from here on the id is taken
  }

  get state(): RegistrationState {
    return this.#state;
  }

  async start(): Promise<void> {
    if (this.#isReady) await this.#ask(this.#isReady);
    else this.#context.store.put(this.instance, true);
    if (this.#state === "pending") this.#become("registered");
  }

  async deregister(): Promise<void> {
    if (this.#state === "left") return;
    this.#next?.cancel();
    this.#context.store.remove(this.instance);
    this.#become("left");
  }

  async #ask(isReady: NonNullable<RegisterOptions["isReady"]>): Promise<void> {
    const { store, clock, readinessMs } = this.#context;
    const ready = await askReadiness(isReady, { clock, limitMs: readinessMs });
    if (this.#state === "left") return;
    store.put(this.instance, ready);
    this.#next = clock.schedule(readinessMs, () => void this.#ask(isReady), { keepAlive: false });
  }

  #become(state: RegistrationState): void {
    const previous = this.#state;
    this.#state = state;
    this.#context.onState(state, previous);
  }
}
