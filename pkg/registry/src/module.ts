import {
  appInfo,
  type Clock,
  clock,
  defineModule,
  errorBus,
  health,
  healthChecks,
  live,
  type LiveSettings,
  logger,
  metrics,
  provider,
  token,
  type Tracing,
  tracing,
} from "@plinth/kernel";
import { agentHostOf } from "./consul/address.ts";
import { createConsulRegistry } from "./consul/consul-registry.ts";
import { endpoints } from "./endpoints.ts";
import { instrumentRegistry, measureRegistry, registryCheck } from "./instrumentation.ts";
import { createMemoryRegistry } from "./memory/memory-registry.ts";
import type { Registry, RegistryListener } from "./registry.ts";
import { SelfRegistration } from "./self-registration.ts";
import { consulSettings, registrySettings } from "./settings.ts";
import { createStaticRegistry } from "./static/static-registry.ts";
import type { StaticServices } from "./static/sources.ts";

export const registry = token("registry").of<Registry>();

/** What a registry opened for an app is given. */
export interface RegistryContext {
  readonly clock: Clock;
  /** Makes log lines, metrics and error reports of what happens. */
  readonly onEvent: RegistryListener;
  /** Makes spans of what is asked of the registry's server. */
  readonly tracing: Tracing;
}

const selfRegistration = token("registry.self").of<SelfRegistration>();

/** Joins when everything is up, leaves first when stopping; a failed or cancelled start takes it back as well. */
const provideSelfRegistration = provider({
  provides: selfRegistration,
  needs: {
    registry,
    endpoints,
    info: appInfo,
    health,
    log: logger,
    errors: errorBus,
    settings: registrySettings,
    consul: consulSettings,
  },
  create: ({ log, consul: { addr }, ...options }) =>
    new SelfRegistration({ ...options, log: log.named("registry"), agentHost: addr && agentHostOf(addr) }),
  join: (self, { signal }) => self.join({ signal }),
  leave: (self, { signal }) => self.leave({ signal }),
  stop: (self, { signal }) => self.leave({ signal }),
});

const provideRegistryCheck = provider({
  provides: healthChecks,
  needs: { registry },
  create: ({ registry: own }) => registryCheck(own),
});

const provideRegistry = provider({
  provides: registry,
  needs: {
    settings: registrySettings,
    hot: live(registrySettings),
    consul: consulSettings,
    info: appInfo,
    clock,
    log: logger,
    metrics,
    errors: errorBus,
    tracing,
  },
  create: ({ settings, hot, consul, info, clock: time, log, tracing: spans, ...telemetry }) => {
    const context = {
      clock: time,
      tracing: spans,
      onEvent: instrumentRegistry({ ...telemetry, log: log.named("registry") }),
    };
    const { driver = consul.addr === undefined ? "memory" : "consul" } = settings;
    const own =
      driver === "memory"
        ? createMemoryRegistry(context)
        : driver === "static"
          ? openStatic(hot, context)
          : createConsulRegistry({
              ...context,
              ...settings,
              ...consul,
              address: consul.addr,
              environment: info.environment,
            });
    measureRegistry(own, telemetry.metrics);
    return own;
  },
  stop: (own, { signal }) => own.close({ signal }),
});

/** Follows the services in the config for as long as the app runs. */
function openStatic(
  settings: LiveSettings<StaticSettings>,
  { clock: time, onEvent }: Pick<RegistryContext, "clock" | "onEvent">,
): Registry {
  const own = createStaticRegistry({ ...settings.current, clock: time, onEvent });
  settings.subscribe((next, previous) => {
    if (next.services !== previous.services) own.replace(next.services);
  });
  return own;
}

interface StaticSettings {
  readonly services: StaticServices;
  readonly snapshotFile?: string | undefined;
  readonly snapshotMaxAgeMs: number;
  readonly emptyConfirmMs: number;
}

/** The registry that the settings name, with this app registered in it when it has endpoints. */
export const registryModule = defineModule("registry", [
  provideRegistry,
  provideSelfRegistration,
  provideRegistryCheck,
]);

/**
 * The same with a registry of your making, opened for each app and closed with it.
 *
 * @example
 * const store = createMemoryStore(); // several apps of one process find each other here
 * const sharedRegistry = registryModuleOf((context) => createMemoryRegistry({ ...context, store }));
 */
export function registryModuleOf(open: (context: RegistryContext) => Registry): typeof registryModule {
  const provideGivenRegistry = provider({
    provides: registry,
    needs: { clock, log: logger, metrics, errors: errorBus, tracing },
    create: ({ clock: time, log, tracing: spans, ...telemetry }) => {
      const onEvent = instrumentRegistry({ ...telemetry, log: log.named("registry") });
      const own = open({ clock: time, onEvent, tracing: spans });
      measureRegistry(own, telemetry.metrics);
      return own;
    },
    stop: (own, { signal }) => own.close({ signal }),
  });
  return defineModule("registry", [provideGivenRegistry, provideSelfRegistration, provideRegistryCheck]);
}
