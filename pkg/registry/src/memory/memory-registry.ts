import { type Clock, requireNumber, systemClock, withDefaults } from "@plinth/kernel";
import { abortable } from "../abortable.ts";
import { closedError, duplicateError } from "../errors.ts";
import { type Feed, singleSet } from "../feed.ts";
import { guardListener } from "../guard-listener.ts";
import { changedInstance, requireServiceName, sameInstance, toInstance } from "../instance.ts";
import { askReadiness } from "../readiness.ts";
import { countStates, inTraffic, summaryOf } from "../states.ts";
import type {
  FollowOptions,
  Instance,
  InstanceChanges,
  InstanceSet,
  NewInstance,
  Readiness,
  RegisterOptions,
  Registration,
  RegistrationState,
  Registry,
  RegistryListener,
  RegistryStats,
  RegistryView,
  ResolveOptions,
  ServicesOptions,
  ServiceSummary,
  WatchOptions,
} from "../registry.ts";
import { Subscriptions } from "../subscriptions.ts";
import { createMemoryStore, type MemoryStore } from "./memory-store.ts";

export interface MemoryRegistryOptions {
  /** Registries with the same store find each other's instances. Default: a store of its own. */
  readonly store?: MemoryStore | undefined;
  /** How often `readiness` of each registration is asked, and how long it may take, in milliseconds, above 0. Default 1_000. */
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

  async register(given: NewInstance, { signal, readiness, onReadiness }: RegisterOptions = {}): Promise<Registration> {
    signal?.throwIfAborted();
    if (this.#closed) throw closedError("the registry");
    const instance = toInstance(given);
    if (this.#store.has(instance.id)) throw duplicateError(instance);
    const registration: MemoryRegistration = new MemoryRegistration(instance, readiness, {
      store: this.#store,
      clock: this.#clock,
      readinessMs: this.#readinessMs,
      onEvent: this.#onEvent,
      onReadiness,
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

  async resolve(service: string, { signal, filter }: ResolveOptions = {}): Promise<InstanceSet> {
    signal?.throwIfAborted();
    if (this.#closed) throw closedError("the registry");
    requireServiceName(service);
    const known = this.#subscriptions.current(service, filter);
    return known ?? singleSet(this.#clock, service, inTraffic(this.#store.list(service)), { filter });
  }

  watch(service: string, options?: WatchOptions): AsyncIterable<InstanceSet> {
    return this.#subscriptions.watch(service, options);
  }

  follow(service: string, options?: FollowOptions): RegistryView {
    return this.#subscriptions.follow(service, options);
  }

  async services({ signal }: ServicesOptions = {}): Promise<readonly ServiceSummary[]> {
    signal?.throwIfAborted();
    if (this.#closed) throw closedError("the registry");
    return this.#store.services().map((service) => {
      const all = this.#store.list(service).map(({ instance: { tags }, state }) => ({ state, tags }));
      return summaryOf(service, all);
    });
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
      const all = this.#store.list(feed.service);
      const set = feed.publish(inTraffic(all), countStates(all));
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
  readonly onEvent: RegistryListener;
  readonly onReadiness: RegisterOptions["onReadiness"];
  readonly onState: (state: RegistrationState, previous: RegistrationState) => void;
}

class MemoryRegistration implements Registration {
  readonly error = undefined;
  readonly #readiness: RegisterOptions["readiness"];
  readonly #context: MemoryRegistrationContext;
  #instance: Instance;
  #answer: Readiness = "critical";
  #maintenance: string | undefined;
  #state: RegistrationState = "pending";
  /** The next asking, when none is under way. */
  #next: { cancel(): void } | undefined;
  /** It has to be asked once more after the asking that is under way. */
  #isAskedAgain = false;
  #stopListening: (() => void) | undefined;

  constructor(instance: Instance, readiness: RegisterOptions["readiness"], context: MemoryRegistrationContext) {
    this.#instance = instance;
    this.#readiness = readiness;
    this.#context = context;
    this.#put(); // from here on the id is taken
  }

  get instance(): Instance {
    return this.#instance;
  }

  get state(): RegistrationState {
    return this.#state;
  }

  get maintenanceReason(): string | undefined {
    return this.#maintenance;
  }

  async start(): Promise<void> {
    const readiness = this.#readiness;
    if (readiness) {
      this.#stopListening = this.#context.onReadiness?.(() => this.#askNow(readiness));
      await this.#ask(readiness);
    } else this.#hear("passing");
    if (this.#state === "pending") this.#become("registered");
  }

  async update(
    changes: InstanceChanges,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    signal?.throwIfAborted();
    this.#requireRegistered();
    const changed = changedInstance(this.#instance, changes);
    if (sameInstance(changed, this.#instance)) return;
    this.#instance = changed;
    this.#put();
    this.#context.onEvent({ type: "registration_updated", registration: this });
  }

  async maintenance(
    reason: string | undefined,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    signal?.throwIfAborted();
    this.#requireRegistered();
    this.#maintenance = reason;
    this.#put();
    this.#context.onEvent({ type: "maintenance", registration: this, reason });
  }

  async deregister(): Promise<void> {
    if (this.#state === "left") return;
    this.#stopListening?.();
    this.#next?.cancel();
    this.#context.store.remove(this.instance);
    this.#become("left");
  }

  async #ask(readiness: NonNullable<RegisterOptions["readiness"]>): Promise<void> {
    const { clock, readinessMs } = this.#context;
    const answer = await askReadiness(readiness, { clock, limitMs: readinessMs });
    if (this.#state === "left") return;
    this.#hear(answer);
    const delayMs = this.#isAskedAgain ? 0 : readinessMs;
    this.#isAskedAgain = false;
    const askOn = (): void => {
      this.#next = undefined;
      void this.#ask(readiness);
    };
    this.#next = clock.schedule(delayMs, askOn, { keepAlive: false });
  }

  #askNow(readiness: NonNullable<RegisterOptions["readiness"]>): void {
    if (!this.#next) {
      this.#isAskedAgain = true;
      return;
    }
    this.#next.cancel();
    this.#next = undefined;
    void this.#ask(readiness);
  }

  #hear(answer: Readiness): void {
    const previous = this.#answer;
    this.#answer = answer;
    this.#put();
    if (this.#state === "registered" && previous !== answer)
      this.#context.onEvent({ type: "readiness", registration: this, readiness: answer, previous });
  }

  #put(): void {
    this.#context.store.put(this.#instance, this.#maintenance === undefined ? this.#answer : "maintenance");
  }

  #become(state: RegistrationState): void {
    const previous = this.#state;
    this.#state = state;
    this.#context.onState(state, previous);
  }

  #requireRegistered(): void {
    if (this.#state === "left") throw closedError(`the registration of ${this.#instance.id}`);
  }
}
