import {
  appInfo,
  clock,
  defineModule,
  live,
  type LiveSettings,
  type Logger,
  logger,
  metrics,
  type Module,
  optional,
  provider,
  token,
  tracing,
} from "@plinth/kernel";
import { registry, registrySettings } from "@plinth/registry";
import type { ClientTls } from "@plinth/transport";
import { auditClient } from "../audit/module.ts";
import type { ClientDefinition } from "./definition.ts";
import type { CallCredentials, FindInstances } from "./options.ts";
import { authClient, authzClient, identityClient, type plinthClients } from "./plinth-clients.ts";
import {
  type BuiltClients,
  buildClients,
  type ClientsOf,
  type ServiceClients,
  type ServiceOptions,
} from "./service-clients.ts";
import { type ServiceSettings, type ServicesSettings, servicesSettings, servicesSettingsOf } from "./settings.ts";

/** The clients of all services, for who describes them; what calls one needs that one's token. */
export const serviceClients = token("services.clients").of<ServiceClients>();

/** Says who calls, with every call of every client; every module may add some. */
export const callCredentials = token("services.credentials").listOf<CallCredentials>();

type PlinthClients = ClientsOf<(typeof plinthClients)[number]>;

/** The built clients of an app, what opens one, and what ends that they follow the config. */
const builtClients = token("services.built").of<BuiltClients<ClientDefinition> & { readonly unfollow: () => void }>();

function provideBuilt(definitions: readonly ClientDefinition[], settings: typeof servicesSettings) {
  return provider({
    provides: builtClients,
    needs: {
      settings: live(settings),
      registry: optional(registry),
      here: registrySettings,
      app: appInfo,
      log: logger,
      credentials: callCredentials,
      clock,
      metrics,
      tracing,
    },
    create: ({ settings: bySettings, here, app, log: appLog, ...own }) => {
      const log = appLog.named("services");
      const services = optionsOf(bySettings.current);
      const built = buildClients<ClientDefinition>({
        ...own,
        definitions,
        services,
        zone: here.zone,
        clientId: app.instanceId,
        log,
      });
      return { ...built, unfollow: follow(bySettings, built, log) };
    },
    // stopped after whatever needs it, and after the drain of the servers: calls that requests make still go out
    stop: ({ clients, unfollow }, { signal }) => {
      unfollow();
      return clients.close({ signal });
    },
    private: true,
  });
}

/** Calls services as the config says now, one reload after the other. */
function follow(
  settings: LiveSettings<ServicesSettings>,
  { replace }: Pick<BuiltClients<ClientDefinition>, "replace">,
  log: Logger,
): () => void {
  let last = Promise.resolve();
  return settings.subscribe((next) => {
    last = last.then(async () => {
      try {
        const services = await replace(optionsOf(next));
        if (services.length > 0) log.info("services are called by new settings", { services });
      } catch (error) {
        log.error("services are called as before: the new settings cannot be used", { error });
      }
    });
  });
}

function optionsOf(settings: ServicesSettings): Readonly<Record<string, ServiceOptions>> {
  return Object.fromEntries(Object.entries(settings).map(([name, one]) => [name, toOptions(one)]));
}

const provideClients = provider({
  provides: serviceClients,
  needs: { built: builtClients },
  create: ({ built }) => built.clients,
});

function opened<K extends keyof PlinthClients>(name: K) {
  return async ({ built }: { readonly built: BuiltClients<ClientDefinition> }): Promise<PlinthClients[K]> => {
    await built.open(name);
    const clients: PlinthClients = built.clients;
    return clients[name];
  };
}

const needs = { built: builtClients };
/** Each is opened for whoever needs it, so that what is wrong with its settings stops the start; what nobody needs is not followed. */
const provideEach = [
  provider({ provides: authClient, needs, create: opened("auth") }),
  provider({ provides: identityClient, needs, create: opened("identity") }),
  provider({ provides: authzClient, needs, create: opened("authz") }),
  provider({ provides: auditClient, needs, create: opened("audit") }),
] as const;

/**
 * The clients of Auth, Identity, Authz and Audit, by the section `services` of the config and the app's registry: `authzClient` and its like for who calls
 * one, `serviceClients` for who describes them all. They are closed when the servers have drained.
 */
export const serviceClientsModule = defineModule("service-clients", [
  provideBuilt([], servicesSettings),
  provideClients,
  ...provideEach,
]);

type Graph =
  typeof serviceClientsModule extends Module<infer Provides, infer Wants> ? readonly [Provides, Wants] : never;

/**
 * The same with clients of contracts of one's own: each is what its definition's `client` stands for, and has its key in the section.
 * An app has one such module, with all its definitions.
 *
 * @throws OptionError `ERR_OPTION_TYPE` for two definitions of one name, when the app starts.
 * @example createApp({ modules: [coreModule, registryModule, serviceClientsModuleOf([notesClient])] }) // needs: { notes: notesClient.client }
 */
export function serviceClientsModuleOf<const D extends ClientDefinition>(
  definitions: readonly D[],
): Module<Graph[0] | D["client"]["name"], Graph[1]> {
  const own = definitions.map(({ name, client }) =>
    provider({
      provides: client,
      needs,
      create: async ({ built }): Promise<unknown> => {
        await built.open(name);
        return Reflect.get(built.clients, name);
      },
    }),
  );
  const parts = [provideBuilt(definitions, servicesSettingsOf(definitions)), provideClients, ...provideEach, ...own];
  const module = defineModule("service-clients", parts);
  if (!provides<D>(module)) throw new TypeError("a client has no provider");
  return module;
}

/** What it was made of says what it provides. */
function provides<D extends ClientDefinition>(
  module: Module,
): module is Module<Graph[0] | D["client"]["name"], Graph[1]> {
  return module.parts.length > 0;
}

function toOptions(settings: ServiceSettings): ServiceOptions {
  const { addresses, url, retryRatio, maxAttempts, hedging, breaker, policy, tls, ...rest } = settings;
  const find: FindInstances | undefined = addresses ? { addresses } : url === undefined ? undefined : { url };
  return {
    ...rest,
    find,
    tls: tls && compactTls(tls),
    budget: { ratio: retryRatio },
    retries: { maxAttempts },
    hedging: hedging ? {} : false,
    breaker: breaker ? {} : false,
    balancing: { policy },
  };
}

function compactTls({ caFile, certFile, keyFile, serverName }: NonNullable<ServiceSettings["tls"]>): ClientTls {
  return {
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
    ...(serverName === undefined ? {} : { serverName }),
  };
}
