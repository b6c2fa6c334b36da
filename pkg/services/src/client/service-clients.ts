import { isDeepStrictEqual } from "node:util";
import { OptionError } from "@plinth/kernel";
import type { Registry } from "@plinth/registry";
import type { RpcChannel } from "@plinth/transport";
import { compact } from "../convert.ts";
import { createBalancedChannel } from "./balanced-channel.ts";
import type { ClientDefinition } from "./definition.ts";
import type { ChannelDescription } from "./describe.ts";
import { type ChannelPlan, LazyChannel, type Replacement } from "./lazy-channel.ts";
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
  /**
   * Calls services otherwise from now on: those whose options are others, all or none of them. Calls under way end where they began. Call it
   * again when it has settled.
   * @returns The names of those clients.
   * @throws what a channel cannot be opened by: then all stay as they were.
   */
  readonly replace: (services: Readonly<Record<string, ServiceOptions | undefined>>) => Promise<readonly string[]>;
}

/** Of a call with one reply whose service has no time of its own, in milliseconds. */
const defaultTimeoutMs = 2_000;

export function buildClients<D extends ClientDefinition>(options: ServiceClientsOptions<D>): BuiltClients<D> {
  const { clock } = options;
  const definitions: readonly ClientDefinition[] = [...plinthClients, ...(options.definitions ?? [])];
  let given: Readonly<Record<string, ServiceOptions | undefined>> = options.services ?? {};
  requireDistinct(definitions, Object.keys(given));
  const channels = new Map<string, LazyChannel>();
  const clients: Record<string, unknown> = {};
  for (const definition of definitions) {
    const { name, create } = definition;
    const own = given[name] ?? {};
    const lazy = new LazyChannel(planOf(definition, own, options));
    if (!own.channel) channels.set(name, lazy);
    const channel = own.channel ?? lazy;
    clients[name] = create({ channel, timeoutMs: () => lazy.timeoutMs, ...(clock && { clock }) });
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
  const replace: BuiltClients<D>["replace"] = async (services) => {
    const changed = definitions.filter(({ name }) => !isDeepStrictEqual(given[name], services[name]));
    await replaceAll(
      changed.map(async (one) => channels.get(one.name)?.prepare(planOf(one, services[one.name] ?? {}, options))),
    );
    given = services;
    return changed.map(({ name }) => name);
  };
  return { clients: all, open: async (name) => channels.get(name)?.open(), replace };
}

/** Puts all of them in their places, or none. @throws what one of them cannot be made by. */
async function replaceAll(preparing: readonly Promise<Replacement | undefined>[]): Promise<void> {
  const settled = await Promise.allSettled(preparing);
  const ready = settled.flatMap((each) => (each.status === "fulfilled" && each.value ? [each.value] : []));
  try {
    await Promise.all(preparing);
  } catch (error) {
    await Promise.all(ready.map((each) => each.discard()));
    throw error;
  }
  for (const each of ready) each.commit();
}

function planOf(
  definition: ClientDefinition,
  own: ServiceOptions,
  options: Parameters<typeof openChannel>[2],
): ChannelPlan {
  return {
    peer: own.service ?? definition.service,
    timeoutMs: own.timeoutMs ?? defaultTimeoutMs,
    make: () => openChannel(definition, own, options),
  };
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
