import { requireNumber, systemClock, withDefaults } from "@plinth/kernel";
import { abortable } from "../abortable.ts";
import { closedError, duplicateError } from "../errors.ts";
import { singleSet } from "../feed.ts";
import { guardListener } from "../guard-listener.ts";
import { requireServiceName, toInstance } from "../instance.ts";
import type {
  FollowOptions,
  InstanceSet,
  NewInstance,
  RegisterOptions,
  Registration,
  Registry,
  RegistryEvent,
  RegistryListener,
  RegistryStats,
  RegistryView,
  ResolveOptions,
  ServicesOptions,
  ServiceSummary,
  WatchOptions,
} from "../registry.ts";
import { SnapshotFile } from "../snapshot/snapshot-file.ts";
import { Subscriptions } from "../subscriptions.ts";
import { ConsulClient, type HealthAnswer } from "./client.ts";
import { connectionDefaults, type ConsulConnectionOptions, firstOf } from "./connection.ts";
import { parseEntries } from "./entry.ts";
import { consulOptionsFrom } from "./environment.ts";
import { type CheckKind, probeOf } from "./probe.ts";
import { staleError } from "./read.ts";
import { KeptRegistration } from "./registration.ts";
import { readSummaries } from "./summaries.ts";
import { watchService } from "./watcher.ts";

/** The token needs `service:write` for what is registered, `service:read` and `node:read` for what is looked up. */
export interface ConsulRegistryOptions extends ConsulConnectionOptions {
  /** An instance turns critical when no heartbeat came for so long, in milliseconds, 100 or more; they are sent four times as often. Default 15_000. */
  readonly ttlMs?: number | undefined;
  /** `http`, `grpc` or `tcp`: the agent also looks at the instance itself, and a killed process is gone after one interval. Default `ttl`: heartbeats alone. */
  readonly check?: CheckKind | undefined;
  /** How often the agent looks, in milliseconds, 100 or more. Default 1_000. */
  readonly checkIntervalMs?: number | undefined;
  /** Consul removes an entry without heartbeats after so long, in milliseconds, 60_000 (its own floor) or more. Default 60_000. */
  readonly deregisterAfterMs?: number | undefined;
  /** How long the agent may hold a watch while nothing changes, in milliseconds, 1 to 600_000; also how long a stalled agent goes unnoticed. Default 60_000. */
  readonly waitMs?: number | undefined;
  /** How long a service must stay empty before its last instances are dropped, in milliseconds, 0 or more; above the heartbeat of its instances. Default 6_000. */
  readonly emptyConfirmMs?: number | undefined;
  /**
   * How long the last instances are kept that nothing speaks against but the silence of their machines' agents, in milliseconds, 0 or more.
   * Default 3_600_000, an hour.
   */
  readonly silentKeepMs?: number | undefined;
  /** Ceiling for the requests of each watch, whatever the agent does, above 0. Default 2. */
  readonly maxRequestsPerSecond?: number | undefined;
  /** No failed watch waits longer than this before the next try, in milliseconds, above 0. Default 10_000. */
  readonly maxBackoffMs?: number | undefined;
  /** An answer from a server that has not heard from the leader for longer counts as stale, in milliseconds, 0 or more. Default 10_000. */
  readonly maxStaleMs?: number | undefined;
  /**
   * A file that keeps what is known of services, for a start without Consul: they begin with it, flagged stale. Its folder must exist and be
   * writable; no other user may write the file. Processes may share it. Default: none is kept.
   */
  readonly snapshotFile?: string | undefined;
  /** What is older in it is not used, in milliseconds, 1_000 or more. Default 86_400_000, a day. */
  readonly snapshotMaxAgeMs?: number | undefined;
  /** Source of jitter in [0, 1). Default `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Told what happens, requests among it. Default: nobody. */
  readonly onEvent?: RegistryListener | undefined;
}

type OwnOption = Exclude<keyof ConsulRegistryOptions, keyof ConsulConnectionOptions | "snapshotFile">;

type Resolved = {
  readonly [K in OwnOption | "requestTimeoutMs" | "maxResponseBytes" | "clock" | "onEvent"]-?: NonNullable<
    ConsulRegistryOptions[K]
  >;
};

export const consulDefaults: Resolved = Object.freeze({
  ttlMs: 15_000,
  check: "ttl",
  checkIntervalMs: 1_000,
  deregisterAfterMs: 60_000,
  waitMs: 60_000,
  emptyConfirmMs: 6_000,
  silentKeepMs: 3_600_000,
  maxRequestsPerSecond: 2,
  maxBackoffMs: 10_000,
  maxStaleMs: 10_000,
  snapshotMaxAgeMs: 86_400_000,
  requestTimeoutMs: connectionDefaults.requestTimeoutMs,
  maxResponseBytes: connectionDefaults.maxResponseBytes,
  clock: systemClock,
  random: Math.random,
  onEvent: () => {},
});

const firstBackoffMs = 250;

/**
 * A registry on the local Consul agent. It keeps the last known instances through every failure, and its own entries
 * through restarts of the agent. Opening it makes no request: an agent that is down is no error here.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE`; {@link RegistryError} `ERR_REGISTRY_ADDRESS`: naming the option, or the variable.
 */
export function createConsulRegistry(options: ConsulRegistryOptions = {}): Registry {
  return new ConsulRegistry(options);
}

class ConsulRegistry implements Registry {
  readonly #options: Resolved;
  readonly #client: ConsulClient;
  readonly #snapshot: SnapshotFile | undefined;
  readonly #subscriptions: Subscriptions;
  readonly #registrations = new Map<string, KeptRegistration>();
  #closing: Promise<void> | undefined;

  constructor(given: ConsulRegistryOptions) {
    const defaulted = withDefaults(consulDefaults, given);
    requireRanges(defaulted);
    const options = { ...defaulted, onEvent: guardListener(defaulted.onEvent) };
    this.#options = options;
    const { clock, random, onEvent, waitMs, emptyConfirmMs, maxStaleMs, silentKeepMs } = options;
    const { maxRequestsPerSecond, maxBackoffMs } = options;
    this.#client = new ConsulClient({ ...given, onEvent });
    this.#snapshot = snapshotOf(given, options);
    const watching = {
      client: this.#client,
      clock,
      waitMs,
      emptyConfirmMs,
      maxStaleMs,
      silentKeepMs,
      maxRequestsPerSecond,
      backoff: { baseDelayMs: Math.min(firstBackoffMs, maxBackoffMs), maxDelayMs: maxBackoffMs, random },
      onEvent,
    };
    this.#subscriptions = new Subscriptions(clock, (feed) => watchService(feed, watching), {
      snapshot: this.#snapshot,
      onEvent,
    });
  }

  async register(
    given: NewInstance,
    { signal, readiness, onReadiness, ...asked }: RegisterOptions = {},
  ): Promise<Registration> {
    signal?.throwIfAborted();
    this.#requireOpen();
    const instance = toInstance(given);
    if (this.#registrations.has(instance.id)) throw duplicateError(instance);
    const { clock, random, ttlMs, deregisterAfterMs, requestTimeoutMs } = this.#options;
    const registration = new KeptRegistration(instance, {
      client: this.#client,
      clock,
      random,
      ttlMs,
      deregisterAfterMs,
      requestTimeoutMs,
      probe: probeOf(instance, asked, this.#options),
      readiness: readiness ?? (() => "passing"),
      onReadiness,
      onEvent: (event) => this.#observe(event),
    });
    this.#registrations.set(instance.id, registration);
    try {
      await abortable(registration.start(), signal);
    } catch (error) {
      registration.deregister().catch(() => undefined); // in the background; an event tells when it fails, and close waits for it
      throw error;
    }
    return registration;
  }

  async resolve(service: string, { signal, filter }: ResolveOptions = {}): Promise<InstanceSet> {
    signal?.throwIfAborted();
    this.#requireOpen();
    requireServiceName(service);
    const known = this.#subscriptions.current(service, filter);
    if (known) return known;
    let answer: HealthAnswer;
    try {
      answer = await this.#client.healthEntries(service, { signal });
    } catch (error) {
      const remembered = signal?.aborted || this.#closing ? undefined : this.#subscriptions.remembered(service, filter);
      if (remembered) return remembered;
      throw error;
    }
    const { clock, maxStaleMs, silentKeepMs } = this.#options;
    const { instances, silent } = parseEntries(service, answer.entries);
    const isSilent = instances.length === 0 && silent.length > 0 && silentKeepMs > 0; // as for those who watch
    const stale = isSilent || staleError(answer, service, maxStaleMs) !== undefined;
    return singleSet(clock, service, isSilent ? silent : instances, {
      filter,
      stale,
      ageMs: answer.lastContactMs ?? 0,
    });
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
    return readSummaries(this.#client, { signal });
  }

  stats(): RegistryStats {
    return { registrations: [...this.#registrations.values()], services: this.#subscriptions.followed() };
  }

  close({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#closing ??= this.#close();
    return abortable(this.#closing, signal);
  }

  async #close(): Promise<void> {
    this.#subscriptions.close();
    await Promise.allSettled([...this.#registrations.values()].map((registration) => registration.deregister()));
    await this.#snapshot?.close();
    await this.#client.close();
  }

  #observe(event: RegistryEvent): void {
    if (event.type === "registration" && event.state === "left") {
      this.#registrations.delete(event.registration.instance.id);
    }
    this.#options.onEvent(event);
  }

  #requireOpen(): void {
    if (this.#closing) throw closedError("the registry");
  }
}

function snapshotOf(given: ConsulRegistryOptions, options: Resolved): SnapshotFile | undefined {
  const { snapshotFile: file } = given;
  if (file === undefined) return undefined;
  const { clock, onEvent, snapshotMaxAgeMs: maxAgeMs } = options;
  const { datacenter, namespace, partition } = firstOf(given, consulOptionsFrom(given.environment));
  const source = ["consul", datacenter ?? "", namespace ?? "", partition ?? ""].join("/"); // not the agent: any knows the same
  return new SnapshotFile({ file, maxAgeMs, source, clock, onEvent });
}

function requireRanges(options: Resolved): void {
  requireNumber("ttlMs", options.ttlMs, { min: 100 });
  requireNumber("checkIntervalMs", options.checkIntervalMs, { min: 100 });
  requireNumber("deregisterAfterMs", options.deregisterAfterMs, { min: 60_000 });
  requireNumber("waitMs", options.waitMs, { min: 1, max: 600_000 });
  requireNumber("emptyConfirmMs", options.emptyConfirmMs, { min: 0 });
  requireNumber("silentKeepMs", options.silentKeepMs, { min: 0 });
  requireNumber("maxRequestsPerSecond", options.maxRequestsPerSecond, { min: Number.MIN_VALUE });
  requireNumber("maxBackoffMs", options.maxBackoffMs, { min: Number.MIN_VALUE });
  requireNumber("snapshotMaxAgeMs", options.snapshotMaxAgeMs, { min: 1_000 });
  requireNumber("maxStaleMs", options.maxStaleMs, { min: 0 });
}
