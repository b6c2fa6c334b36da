import type { DescMethod, MessageShape } from "@bufbuild/protobuf";
import { OptionError } from "@plinth/kernel";
import type { Registry } from "@plinth/registry";
import type { RpcChannel, StreamChannelCall, UnaryChannelCall } from "@plinth/transport";
import { compact } from "../convert.ts";
import { createBalancedChannel } from "./balanced-channel.ts";
import type { ClientDefinition } from "./definition.ts";
import type { ChannelDescription } from "./describe.ts";
import { closed } from "./failures.ts";
import type { BalancedChannel, BalancedChannelOptions, FindInstances } from "./options.ts";
import { plinthClients } from "./plinth-clients.ts";

type PlinthClient = (typeof plinthClients)[number];
type Shared = "clock" | "random" | "metrics" | "tracing" | "log" | "zone" | "clientId";

/** How one service is called. */
export interface ServiceOptions extends Omit<BalancedChannelOptions, Shared | "service" | "find"> {
  /** As its instances are registered. Default: the name of its definition. */
  readonly service?: string | undefined;
  /** Default: the registry. */
  readonly find?: FindInstances | undefined;
  /** Calls go over this in place of a channel that is made from the other options. Whoever made it closes it. */
  readonly channel?: RpcChannel | undefined;
}

type NameIn<D extends ClientDefinition> = D["name"];

/** The clients by name. */
export type ClientsOf<D extends ClientDefinition> = {
  readonly [K in D as K["name"]]: K extends ClientDefinition<string, infer Client> ? Client : never;
};

/** The clients of all services that an app calls. */
export type ServiceClients<D extends ClientDefinition = never> = ClientsOf<PlinthClient | D> & {
  /** The channels that have been opened, by the name of their client. */
  describe(): Readonly<Partial<Record<NameIn<PlinthClient | D>, ChannelDescription>>>;
  /** Takes no more calls, resolves when those under way have ended, and cuts off what is left when `signal` aborts. Safe to call twice. */
  close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
};

export interface ServiceClientsOptions<D extends ClientDefinition = never> extends Pick<
  BalancedChannelOptions,
  Shared | "credentials"
> {
  /** Tells who serves what: needed for each service that has no `find` of its own. It outlives the clients. */
  readonly registry?: Pick<Registry, "watch"> | undefined;
  /** Clients of contracts of one's own. */
  readonly definitions?: readonly D[] | undefined;
  /** How services are called, by the name of their client. Those named here are opened at once, the others with their first call. */
  readonly services?: { readonly [Name in NameIn<PlinthClient | D>]?: ServiceOptions } | undefined;
}

/**
 * The clients of Auth, Identity, Authz, Audit and of contracts of one's own, each over a balanced channel.
 *
 * @throws OptionError `ERR_OPTION_TYPE` for two definitions of one name, a service that nobody defines, and one that cannot be found;
 *   and what `createBalancedChannel` throws, for the services that are named.
 * @example
 * const clients = await createServiceClients({ registry, services: { authz: { transport: "http" } } });
 * await clients.authz.check({ subject, resource, permission: "notes.read" });
 * await clients.close({ signal: AbortSignal.timeout(5_000) });
 */
export async function createServiceClients<const D extends ClientDefinition = never>(
  options: ServiceClientsOptions<D> = {},
): Promise<ServiceClients<D>> {
  const { clients, open } = buildClients(options);
  try {
    await Promise.all(Object.keys(options.services ?? {}).map(open));
  } catch (error) {
    await clients.close();
    throw error;
  }
  return clients;
}

/** Clients none of which has been opened, and what opens one. */
export interface BuiltClients<D extends ClientDefinition> {
  readonly clients: ServiceClients<D>;
  readonly open: (name: string) => Promise<unknown>;
}

export function buildClients<D extends ClientDefinition>(options: ServiceClientsOptions<D>): BuiltClients<D> {
  const { clock } = options;
  const definitions: readonly ClientDefinition[] = [...plinthClients, ...(options.definitions ?? [])];
  const given: Readonly<Record<string, ServiceOptions | undefined>> = options.services ?? {};
  requireDistinct(definitions, Object.keys(given));
  const channels = new Map<string, LazyChannel>();
  const clients: Record<string, unknown> = {};
  for (const definition of definitions) {
    const { name, create } = definition;
    const own = given[name] ?? {};
    const lazy = new LazyChannel(own.service ?? definition.service, () => openChannel(definition, own, options));
    if (!own.channel) channels.set(name, lazy);
    const channel = own.channel ?? lazy;
    clients[name] = create({ channel, timeoutMs: own.timeoutMs ?? 2_000, ...(clock && { clock }) });
  }
  const all = {
    ...clients,
    describe: () =>
      Object.fromEntries(
        [...channels].flatMap(([name, { opened }]) => (opened ? [[name, opened.describe()] as const] : [])),
      ),
    close: async (limit?: { readonly signal?: AbortSignal | undefined }): Promise<void> => {
      await Promise.all([...channels.values()].map((channel) => channel.close(limit)));
    },
  };
  if (!isComplete<D>(all, definitions)) throw new TypeError("a client is missing");
  return { clients: all, open: async (name) => channels.get(name)?.open() };
}

function isComplete<D extends ClientDefinition>(
  all: object,
  definitions: readonly ClientDefinition[],
): all is ServiceClients<D> {
  return definitions.every(({ name }) => name in all);
}

async function openChannel(
  { name, service }: ClientDefinition,
  own: Omit<ServiceOptions, "channel">,
  options: Pick<ServiceClientsOptions, Shared | "credentials" | "registry">,
): Promise<BalancedChannel> {
  const { registry, credentials, clock, random, metrics, tracing, log, zone, clientId } = options;
  const find = own.find ?? (registry && { registry });
  if (!find) {
    throw wrong(`services.${name}.find must be given, or a registry for all: nobody tells where ${service} is`);
  }
  const shared = { credentials, clock, random, metrics, tracing, log, zone, clientId };
  return createBalancedChannel({ ...shared, ...compact({ ...own }), service: own.service ?? service, find });
}

function requireDistinct(definitions: readonly ClientDefinition[], given: readonly string[]): void {
  const names = definitions.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) throw wrong(`definitions must not have two clients of one name: ${twice}`);
  const unknown = given.find((name) => !names.includes(name));
  if (unknown !== undefined) throw wrong(`services.${unknown} must be one of ${names.join(", ")}`);
}

function wrong(message: string): OptionError {
  return new OptionError("ERR_OPTION_TYPE", "invalid_argument", message);
}

/** A channel that is made with its first call, so that services which nobody calls are not followed. */
class LazyChannel implements RpcChannel {
  readonly peer: string;
  readonly #make: () => Promise<BalancedChannel>;
  #opening: Promise<BalancedChannel> | undefined;
  #isClosed = false;
  opened: BalancedChannel | undefined;

  constructor(peer: string, make: () => Promise<BalancedChannel>) {
    this.peer = peer;
    this.#make = make;
  }

  async open(): Promise<BalancedChannel> {
    if (this.opened) return this.opened;
    if (this.#isClosed) throw closed(this.peer);
    this.#opening ??= this.#make();
    try {
      return (this.opened = await this.#opening);
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  async unary<M extends DescMethod>(call: UnaryChannelCall<M>): Promise<MessageShape<M["output"]>> {
    return (this.opened ?? (await this.open())).unary(call);
  }

  async *stream<M extends DescMethod>(call: StreamChannelCall<M>): AsyncGenerator<MessageShape<M["output"]>> {
    yield* (this.opened ?? (await this.open())).stream(call);
  }

  async close(options?: { readonly signal?: AbortSignal | undefined }): Promise<void> {
    this.#isClosed = true;
    const channel = await this.#opening?.catch(() => undefined);
    await channel?.close(options);
  }
}
