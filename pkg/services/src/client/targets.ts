import { AppError, OptionError, runOutsideContext } from "@plinth/kernel";
import { authorityOf, type Instance, type InstanceFilter, type Registry } from "@plinth/registry";
import type { RpcChannel } from "@plinth/transport";
import type { FindInstances, ServiceTransport } from "./options.ts";

/** An instance that calls can be sent to. */
export interface Target {
  /** Changes with the address, so that nothing known of one sticks to another. */
  readonly id: string;
  /** `host:port`. */
  readonly address: string;
  /** What calls to it carry in `plinth-instance`; undefined: nothing. */
  readonly identity: string | undefined;
  /** Its share of the traffic. */
  readonly weight: number;
  readonly zone: string | undefined;
  readonly line: Line;
}

/** An instance before there is a way to it. */
export type Place = Omit<Target, "line">;

/** So many calls in a row that get no answer at all say that the connection is lost, though nobody has told: half-open. */
const maxSilences = 3;
/** The least time between two channels to an instance that stays silent, in milliseconds: it doubles each time, up to the second. */
const leastRenewalMs = 1_000;
const mostRenewalMs = 30_000;

/** The channel to one instance, made with the first call. */
export class Line {
  readonly #open: () => Promise<RpcChannel>;
  #opening: Promise<RpcChannel> | undefined;
  #silences = 0;
  #renewals = 0;
  #renewedAtMs = -Infinity;
  /** Once there is one, so that calls need not wait for a turn of the event loop. */
  channel: RpcChannel | undefined;

  constructor(open: () => Promise<RpcChannel>) {
    this.#open = open;
  }

  /** What is made fails as often as it is asked for, until it does not. */
  open(): Promise<RpcChannel> {
    this.#opening ??= this.#open().then(
      (channel) => (this.channel = channel),
      (error: unknown) => {
        this.#opening = undefined;
        throw error;
      },
    );
    return this.#opening;
  }

  /** A call has been answered. */
  answered(): void {
    this.#silences = 0;
    this.#renewals = 0;
  }

  /**
   * A call had no answer in its time. After some in a row those to come go over a new channel: keeping a connection alive tells of a dead
   * one only after tens of seconds, and the system after minutes.
   * @param begunAtMs - When the call was sent, in the clock's monotonic milliseconds.
   * @returns The channel of before, which is to be closed; undefined: it is kept.
   */
  unanswered(begunAtMs: number, nowMs: number): Line | undefined {
    if (begunAtMs < this.#renewedAtMs) return undefined;
    this.#silences++;
    const restMs = Math.min(mostRenewalMs, leastRenewalMs * 2 ** (this.#renewals - 1));
    if (this.#silences < maxSilences || nowMs - this.#renewedAtMs < restMs) return undefined;
    const past = new Line(this.#open);
    past.#opening = this.#opening;
    this.#opening = undefined;
    this.channel = undefined;
    this.#silences = 0;
    this.#renewals++;
    this.#renewedAtMs = nowMs;
    return past;
  }

  /** Resolves when the calls under way have ended; cuts off what is left when `signal` aborts. */
  async close(signal: AbortSignal): Promise<void> {
    const channel = await this.#opening?.catch(() => undefined);
    await channel?.close({ signal });
  }
}

/** Told of the instances. */
export interface PlacesListener {
  /** Now, and whenever they are others. */
  onPlaces(places: readonly Place[]): void;
  /** Once, when nothing more will come. What came before still holds. */
  onEnd(error: AppError | undefined): void;
}

export interface FollowPlacesOptions {
  readonly service: string;
  readonly find: FindInstances;
  readonly transport: ServiceTransport;
  readonly filter: InstanceFilter | undefined;
}

/**
 * Tells where the instances are until closed.
 * @throws OptionError `ERR_OPTION_TYPE` for an address or a URL that is none.
 */
export function followPlaces(options: FollowPlacesOptions, listener: PlacesListener): { close(): void } {
  const { find, transport } = options;
  if ("registry" in find) return followRegistry(find.registry, options, listener);
  const addresses = "url" in find ? [parseUrl(find.url, transport).address] : [...new Set(find.addresses)];
  for (const [index, address] of addresses.entries())
    if (!isAddress(address)) throw wrong(`find.addresses[${index}]`, "host:port, an IPv6 address in brackets");
  if (addresses.length === 0) throw wrong("find.addresses", "one address at least");
  listener.onPlaces(
    addresses.map((address) => ({ id: address, address, identity: undefined, weight: 1, zone: undefined })),
  );
  return { close: () => {} };
}

function followRegistry(
  registry: Pick<Registry, "watch">,
  { service, transport, filter }: FollowPlacesOptions,
  listener: PlacesListener,
): { close(): void } {
  const over = new AbortController();
  const { signal } = over;
  const follow = async (): Promise<void> => {
    let failure: AppError | undefined;
    try {
      let known: readonly Instance[] | undefined;
      for await (const { instances } of registry.watch(service, {
        signal,
        filter: { ...filter, protocol: transport },
      })) {
        if (signal.aborted) return;
        if (instances === known) continue;
        known = instances;
        listener.onPlaces(instances.flatMap((instance) => placeOf(instance, transport)));
      }
    } catch (error) {
      failure = AppError.from(error);
    }
    if (!signal.aborted) listener.onEnd(failure);
  };
  // whoever makes a channel may be serving a request, which the watch outlives
  void runOutsideContext(follow);
  return { close: () => over.abort() };
}

function placeOf(instance: Instance, transport: ServiceTransport): readonly Place[] {
  const address = authorityOf(instance, transport);
  if (address === undefined) return [];
  const { id, identity, weight, zone } = instance;
  return [{ id: `${id}@${address}`, address, identity, weight, zone }];
}

/** Where a URL leads. */
export interface ParsedUrl {
  /** `host:port`. */
  readonly address: string;
  readonly isSecure: boolean;
  /** What stands before the paths of methods: nothing, or `/path`. */
  readonly path: string;
}

/** @throws OptionError `ERR_OPTION_TYPE`. */
export function parseUrl(given: string | URL, transport: ServiceTransport): ParsedUrl {
  const url = URL.parse(given);
  const isWeb = url?.protocol === "http:" || url?.protocol === "https:";
  if (!url || !isWeb || url.search || url.hash || url.username) throw wrong("find.url", "http(s)://host:port");
  const path = url.pathname.replace(/\/$/, "");
  if (transport === "grpc" && path !== "") throw wrong("find.url", "http(s)://host:port, over gRPC without a path");
  const isSecure = url.protocol === "https:";
  return { address: `${url.hostname}:${url.port || (isSecure ? "443" : "80")}`, isSecure, path };
}

function isAddress(text: string): boolean {
  const url = /^[^/?#@\s]+:\d{1,5}$/.test(text) ? URL.parse(`http://${text}`) : null;
  return url !== null && url.hostname !== "";
}

function wrong(name: string, expected: string): OptionError {
  return new OptionError("ERR_OPTION_TYPE", "invalid_argument", `${name} must be ${expected}`);
}
