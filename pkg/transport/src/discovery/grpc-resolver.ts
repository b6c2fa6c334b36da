import { type ChannelOptions, experimental, Metadata, status } from "@grpc/grpc-js";
import { AppError, systemClock } from "@plinth/kernel";
import { authorityOf, type Instance } from "@plinth/registry";
import { TransportError } from "../errors.ts";
import { noAnswer, noInstance } from "./errors.ts";
import { factsOption, type InstanceFacts, policyName, registerPolicy } from "./grpc-balancer.ts";
import { watchInstances } from "./instance-watch.ts";
import { type InstanceSource, sourceOf } from "./resolver-names.ts";

type Endpoints = Parameters<experimental.ResolverListener>[0];

/** The scheme of targets. */
const scheme = "plinth";
/** In the options of a channel: its own registry. Under this prefix it is kept from the connections, which are told apart by their options. */
const sourceOption = `${experimental.SUBCHANNEL_ARGS_EXCLUDE_KEY_PREFIX}.plinth_registry`;
const firstAnswerDefaultMs = 3_000;

/** Options of a channel whose target `plinth:///service` is looked up in this registry, and in no other. */
export function optionsOf(source: InstanceSource): ChannelOptions {
  registerScheme();
  // the library writes options down as JSON when it traces
  return { [sourceOption]: { ...source, toJSON: () => "a registry" }, "grpc.enable_http_proxy": 0 };
}

let isRegistered = false;

/** Once in a process: the classes hold nothing of anybody's. */
export function registerScheme(): void {
  if (isRegistered) return;
  isRegistered = true;
  registerPolicy();
  experimental.registerResolver(scheme, PlinthResolver);
}

/** Follows the registry for one channel, from its first call until it is idle or closed. */
class PlinthResolver implements experimental.Resolver {
  readonly #target: experimental.GrpcUri;
  readonly #listener: experimental.ResolverListener;
  readonly #options: ChannelOptions;
  #watch: { close(): void } | undefined;
  #patience: { cancel(): void } | undefined;

  constructor(target: experimental.GrpcUri, listener: experimental.ResolverListener, options: ChannelOptions) {
    this.#target = target;
    this.#listener = listener;
    this.#options = options;
  }

  /** What stands in `:authority`, and what a certificate must be of where nothing else is said. */
  static getDefaultAuthority(target: experimental.GrpcUri): string {
    return serviceOf(target);
  }

  updateResolution(): void {
    if (this.#watch) return; // it is told of what changes by itself
    const service = serviceOf(this.#target);
    let source: InstanceSource;
    try {
      source = this.#source();
    } catch (error) {
      // looked for again with the next call: an app that has not started yet may put it there
      process.nextTick(() => this.#tell(failure(AppError.from(error))));
      return;
    }
    const { registry, filter, clock = systemClock, firstAnswerMs = firstAnswerDefaultMs } = source;
    let isKnown = false;
    this.#patience = clock.schedule(firstAnswerMs, () => this.#tell(failure(noAnswer(service, firstAnswerMs))));
    this.#watch = watchInstances({
      registry,
      service,
      filter,
      onInstances: (instances) => {
        isKnown = true;
        this.#patience?.cancel();
        const { endpoints, facts } = toEndpoints(instances);
        this.#tell(experimental.statusOrFromValue(endpoints), facts, noInstance(service, "grpc").message);
      },
      onEnd: (error) => {
        this.#patience?.cancel();
        if (!isKnown) this.#tell(failure(noInstance(service, "grpc", error)));
      },
    });
  }

  destroy(): void {
    this.#patience?.cancel();
    this.#watch?.close();
    this.#watch = undefined;
  }

  #tell(endpoints: Endpoints, facts: ReadonlyMap<string, InstanceFacts> = new Map(), note = ""): void {
    // whoever configures the channel says as well how it balances
    const isConfigured = this.#options["grpc.service_config"] !== undefined;
    const config = { loadBalancingConfig: [{ [policyName]: {} }], methodConfig: [] };
    const given = isConfigured ? null : experimental.statusOrFromValue(config);
    this.#listener(endpoints, { [factsOption]: facts }, given, note);
  }

  #source(): InstanceSource {
    const own: unknown = this.#options[sourceOption];
    return isSource(own) ? own : sourceOf(this.#target.authority);
  }
}

function serviceOf({ path }: experimental.GrpcUri): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(path)) return path;
  throw new TransportError(
    "ERR_SERVICE_URL",
    "internal",
    `"${path.slice(0, 200)}" names no service; write plinth:///SERVICE without a port, which the registry tells`,
  );
}

function isSource(value: unknown): value is InstanceSource {
  return typeof value === "object" && value !== null && "registry" in value;
}

function failure({ message }: AppError): Endpoints {
  return { ok: false, error: { code: status.UNAVAILABLE, details: message, metadata: new Metadata() } };
}

function toEndpoints(instances: readonly Instance[]): {
  readonly endpoints: experimental.Endpoint[];
  readonly facts: ReadonlyMap<string, InstanceFacts>;
} {
  const endpoints: experimental.Endpoint[] = [];
  const facts = new Map<string, InstanceFacts>();
  for (const instance of instances) {
    const { host, ports, weight, identity } = instance;
    if (authorityOf(instance, "grpc") === undefined || ports.grpc === undefined) continue;
    const endpoint = { addresses: [{ host, port: ports.grpc }] };
    const address = experimental.endpointToString(endpoint);
    const before = facts.get(address);
    if (!before) endpoints.push(endpoint);
    // who of several at one address is there now is not known: then none is named
    const isSame = before === undefined || before.identity === identity;
    facts.set(address, {
      weight: Math.max(weight, before?.weight ?? 0),
      identity: isSame ? identity : undefined,
    });
  }
  return { endpoints, facts };
}
