import type { AppError } from "@plinth/kernel";

export type { RegistryEvent, RegistryListener, RegistryOperation, RequestOutcome, SkippedEntry } from "./events.ts";

/** Finds the live instances of services, tells when they change, and makes this process one of them. */
export interface Registry {
  /**
   * Makes `instance` findable, and keeps it so until it is deregistered: lost entries come back by themselves.
   * Resolves after the first try; when the registry could not be reached the state is `pending` and trying goes on.
   *
   * @throws {@link RegistryError} `ERR_REGISTRY_INSTANCE`, `ERR_REGISTRY_DUPLICATE`, `ERR_REGISTRY_CHECK`, `ERR_REGISTRY_REJECTED`,
   *   `ERR_REGISTRY_CLOSED`: what trying again cannot mend. The signal's reason when it aborts; then nothing stays behind.
   */
  register(instance: NewInstance, options?: RegisterOptions): Promise<Registration>;
  /**
   * The live instances now: from memory when the service is followed or watched, else by one read.
   * @throws {@link RegistryError} when the registry cannot be read and nothing is known yet.
   */
  resolve(service: string, options?: ResolveOptions): Promise<InstanceSet>;
  /**
   * The set now and after each change: whole sets, the latest only. A slow reader skips what lies between.
   * Ends when the signal aborts or the registry closes; never because the registry fails.
   */
  watch(service: string, options?: WatchOptions): AsyncIterable<InstanceSet>;
  /** The same for the hot path: read {@link RegistryView.current} at each request, no I/O and no waiting. */
  follow(service: string, options?: FollowOptions): RegistryView;
  /**
   * All services with an instance in the registry now, whatever its state, ordered by name: for operators and tools, by a read of its own.
   * @throws {@link RegistryError} when the registry cannot be read.
   */
  services(options?: ServicesOptions): Promise<readonly ServiceSummary[]>;
  /** What is registered and followed through this object, for health, metrics and operators. */
  stats(): RegistryStats;
  /** Deregisters what is still registered here and ends all watches. Safe to call twice. */
  close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/** Ports by protocol, 1 to 65535; at least one. */
export interface Ports {
  readonly http?: number;
  readonly grpc?: number;
}

/** One running process of a service. */
export interface Instance {
  /** Letters, digits, `.`, `_` and `-`; at most 128 characters. */
  readonly service: string;
  /** Unique for each start of the process, so that what is known of a dead one never sticks to its successor. */
  readonly id: string;
  /** Name or IP address that others reach it at, without brackets or port. */
  readonly host: string;
  readonly ports: Ports;
  readonly version?: string;
  /** Failure domain, such as a rack or an availability zone. */
  readonly zone?: string;
  /** Share of the traffic relative to its peers, 1 to 65535. */
  readonly weight: number;
  readonly tags: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  /**
   * What calls to it carry in the header, or metadata, `plinth-instance`: it refuses those that name another, so that whoever comes to
   * its address after it gets none of its calls. Absent: it does not look, and is sent no such header.
   */
  readonly identity?: string;
  /** `warning`: something that is not critical to it fails. It gets traffic as before, with its full weight. */
  readonly status: "passing" | "warning";
}

/** An instance as it is given: weight 1, no tags and no metadata unless said. */
export type NewInstance = Pick<Instance, "service" | "id" | "host" | "ports"> & {
  readonly [K in "version" | "zone" | "weight" | "tags" | "metadata" | "identity"]?: Instance[K] | undefined;
};

/** What of an instance can change while it is registered: fields that are left out stay as they are. */
export type InstanceChanges = Partial<Pick<NewInstance, "version" | "zone" | "weight" | "tags" | "metadata">>;

/** How an instance does: `critical` gets no traffic, `warning` gets it and is shown to operators. */
export type Readiness = "passing" | "warning" | "critical";

/** Where an instance is found: what its checks say, and `maintenance` when an operator or its owner took it out of traffic. */
export type InstanceState = Readiness | "maintenance";

export interface RegisterOptions {
  /** Gives up the first try. It does not end a registration: {@link Registration.deregister} does. */
  readonly signal?: AbortSignal | undefined;
  /** How it does, asked again and again. `critical`, throwing or overrunning: not found by others. Default: always `passing`. */
  readonly readiness?: (() => Readiness | Promise<Readiness>) | undefined;
  /**
   * Calls what it is given whenever {@link readiness} may have changed, and returns how to end that: then it is asked within half a second,
   * at most twice a second, and not at the next heartbeat alone. Default: nobody tells.
   */
  readonly onReadiness?: ((onChange: () => void) => () => void) | undefined;
  /** Path on the http port that answers 2xx when ready, for registries that look for themselves. Default none. */
  readonly readyPath?: string | undefined;
  /** Ports that speak TLS: a registry that looks for itself does so by TLS. Default none. */
  readonly tls?: readonly (keyof Ports)[] | undefined;
}

/**
 * - `pending`: not accepted so far, being tried
 * - `registered`: accepted, and confirmed since
 * - `lost`: was accepted, cannot be confirmed now, being tried again
 * - `left`: deregistered, for good
 */
export type RegistrationState = "pending" | "registered" | "lost" | "left";

export interface Registration {
  /** As last given: by registering it, or by {@link Registration.update}. */
  readonly instance: Instance;
  readonly state: RegistrationState;
  /** Why it is pending or lost. */
  readonly error: AppError | undefined;
  /** Why it is out of traffic by {@link Registration.maintenance}; undefined while it is not. */
  readonly maintenanceReason: string | undefined;
  /**
   * Changes what others are told of the instance, under the same id. Resolves after the first try; when the registry could not be reached,
   * the changes go out with the next try.
   * @throws {@link RegistryError} `ERR_REGISTRY_INSTANCE`, `ERR_REGISTRY_REJECTED`, `ERR_REGISTRY_CLOSED` once deregistered. The signal's reason.
   */
  update(changes: InstanceChanges, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
  /**
   * Takes the instance out of traffic, with a reason for operators, or with undefined back into it. Its entry stays. Resolves after the first try, as `update`.
   * @throws {@link RegistryError} `ERR_REGISTRY_CLOSED` once deregistered. The signal's reason.
   */
  maintenance(reason: string | undefined, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
  /**
   * Takes the instance out. The first call does it, later ones tell its outcome.
   * @throws {@link RegistryError} when the registry could not be told; the entry then ends by itself when its heartbeats stop.
   */
  deregister(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

/** All live instances of one service at one moment; never changed once made. */
export interface InstanceSet {
  readonly service: string;
  /** Ordered by id. The same array as long as the revision is the same. */
  readonly instances: readonly Instance[];
  /** 1 for the first set of a watch, one more at each change of the instances. */
  readonly revision: number;
  /** Milliseconds since the registry last confirmed this set; up to the length of a quiet watch even when all is well. */
  readonly ageMs: number;
  /** True while it cannot be confirmed: these are the last known instances, kept because they probably still work. */
  readonly stale: boolean;
}

/** Which instances of a service are meant: those that every field given accepts. One watch serves all filters of a service. */
export interface InstanceFilter {
  /** Exactly this version, or with `*` at the end all that begin so: `2.*` takes `2.0` and `2.1.7`. Instances without version match none. */
  readonly version?: string | undefined;
  /** In this zone alone. */
  readonly zone?: string | undefined;
  /** Those of this zone while enough of the others' fields accept are in it, else all. */
  readonly preferZone?: string | ZonePreference | undefined;
  /** With all of these tags. */
  readonly tags?: readonly string[] | undefined;
  /** With all of these entries. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** With a port for it. */
  readonly protocol?: keyof Ports | undefined;
}

export interface ZonePreference {
  readonly zone: string;
  /** As long as the zone has so many, a whole number, 1 or more. Default 1. */
  readonly atLeast?: number | undefined;
  /** And as long as those are such a share of all, 0 to 1. Default 0. */
  readonly atLeastRatio?: number | undefined;
}

export interface ResolveOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default: all. */
  readonly filter?: InstanceFilter | undefined;
}

export interface WatchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default: all. Told only of what changes for it. */
  readonly filter?: InstanceFilter | undefined;
}

export interface FollowOptions {
  /** Default: all. */
  readonly filter?: InstanceFilter | undefined;
}

export interface ServicesOptions {
  readonly signal?: AbortSignal | undefined;
}

/** One service as operators see it. */
export interface ServiceSummary {
  readonly service: string;
  readonly passing: number;
  readonly warning: number;
  /** Those in maintenance too. */
  readonly critical: number;
  /** Of all its instances, each once, ordered. */
  readonly tags: readonly string[];
}

/** A live view of one service, to be read synchronously. */
export interface RegistryView {
  readonly service: string;
  /** The last known set; undefined until the registry has answered once. Compare `revision` to see whether it changed. */
  readonly current: InstanceSet | undefined;
  /** Resolves with the first set; rejects with `ERR_REGISTRY_CLOSED` when closed before. */
  readonly ready: Promise<void>;
  close(): void;
}

export interface RegistryStats {
  readonly registrations: readonly Registration[];
  readonly services: readonly FollowedService[];
}

export interface FollowedService {
  readonly service: string;
  readonly current: InstanceSet | undefined;
  /** How many of its instances are in each state, as last told; only `passing` and `warning` ones are in the set. */
  readonly states: InstanceCounts;
  /** Why the watch fails now, if it does. */
  readonly error: AppError | undefined;
}

/** Instances by state. */
export type InstanceCounts = Readonly<Record<InstanceState, number>>;
