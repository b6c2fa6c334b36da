import {
  appControl,
  type AppEvents,
  appEvents,
  appInfo,
  clock,
  type ConfigSource,
  defineModule,
  errorBus,
  health,
  healthChecks,
  logger,
  metrics,
  provider,
  token,
  tracing,
} from "@plinth/kernel";
import { consulConfig, consulSettings, registry, registrySettings } from "@plinth/registry";
import type { DocumentChanges } from "./config/changes.ts";
import { DocumentKeeper } from "./config/document-keeper.ts";
import { documentFile, loadDocument } from "./config/document-source.ts";
import type { GatewayDocument, ParsedDocument } from "./config/schema.ts";
import { GatewayConfigError } from "./errors.ts";
import type { Gateway } from "./contract.ts";
import { createGateway } from "./gateway.ts";
import { GatewayEntry, LimitStore, limitStore } from "./limits/limit-store-module.ts";
import { openRedisRateStore, redisSettings } from "@plinth/resilience";
import { gatewaySettings } from "./options.ts";

export const gateway = token("gateway").of<Gateway>();

/** Where the gateway of this app has its document from; undefined where it is written in code. */
const documentPlace = token("gateway.document").of<ConfigSource | undefined>();

/**
 * A gateway with routes written in code.
 *
 * @param document - Absent: read from the place that the setting `gateway.routes` names, and again whenever it changes there, or the
 *   app reloads its config, as at SIGHUP.
 */
export function gatewayModuleOf(document?: GatewayDocument) {
  const providePlace = provider({
    provides: documentPlace,
    needs: { settings: gatewaySettings, consul: consulSettings, info: appInfo, clock, tracing },
    create: ({ settings: { routes }, consul, info, ...seams }) => {
      if (document) return undefined;
      if (routes === undefined) throw noPlace();
      const key = /^consul:(.+)$/.exec(routes)?.[1];
      if (key === undefined) return documentFile(routes, seams.clock);
      return consulConfig({
        ...seams,
        ...consul,
        address: consul.addr,
        environment: info.environment,
        key,
        required: true,
      });
    },
  });

  const provideGateway = provider({
    provides: gateway,
    needs: {
      settings: gatewaySettings,
      place: documentPlace,
      limitStore,
      registry,
      clock,
      log: logger,
      metrics,
      tracing,
      errors: errorBus,
      health,
      control: appControl,
    },
    create: async ({ settings, place, health: state, control, ...rest }, { signal }) => {
      const own = createGateway({
        ...rest,
        log: rest.log.named("gateway"),
        settings,
        onDied: (error) => control.fail(error, "process"),
        document: document ?? (place ? await loadDocument(place, signal) : { routes: [] }),
      });
      state.onState((next) => next === "draining" && own.announceDrain());
      return own;
    },
    start: (own, { signal }) => own.listen({ signal }),
    drain: (own, { signal }) => own.drain({ signal }),
    stop: (own) => own.close(),
  });
  return defineModule("gateway", [
    providePlace,
    provideGateway,
    provideKeeper,
    provideKeysCheck,
    provideLimitStore,
    provideEntry,
    provideLimitCheck,
  ]);
}

/** Opened before the gateway, closed after it. */
const provideLimitStore = provider({
  provides: limitStore,
  needs: { settings: redisSettings, known: registry, info: appInfo, clock, tracing },
  create: async ({ settings: { url, deadlineMs, ...settings }, known, info, ...seams }) => {
    if (url === undefined) return undefined;
    const store = await openRedisRateStore({ url, ...settings, ...seams });
    return new LimitStore(store, deadlineMs, known.follow(info.name));
  },
  stop: (held) => held?.close(),
});

/** Reads the document anew where there may be another one, from when the gateway listens until it drains. */
const provideKeeper = provider({
  provides: token("gateway.keeper").of<KeptDocument>(),
  needs: { gateway, place: documentPlace, events: appEvents, log: logger, errors: errorBus, metrics },
  create: ({ gateway: own, place, events, log, ...seams }) => {
    const apply = (next: ParsedDocument): Promise<DocumentChanges> => own.reload(next);
    const keeper = place && new DocumentKeeper({ ...seams, source: place, apply, log: log.named("gateway") });
    return new KeptDocument(keeper, events);
  },
  start: (kept) => kept.start(),
  drain: (kept) => kept.end(),
  stop: (kept) => kept.end(),
});

/** Routes go on that need no token, and known tokens are still taken: it only tells. */
const provideKeysCheck = provider({
  provides: healthChecks,
  needs: { own: gateway },
  create: ({ own }) => ({
    name: "gateway.keys",
    critical: false,
    run: () => {
      const without = own.providersWithoutKeys();
      if (without.length > 0) throw new Error(`no key set of ${without.join(", ")} could be fetched so far`);
    },
  }),
});

/** How many share a limit is told by the registry. */
const provideEntry = provider({
  provides: token("gateway.entry").of<GatewayEntry>(),
  needs: { own: gateway, limitStore, registry, settings: registrySettings, info: appInfo },
  create: ({ limitStore: shared, settings: { advertiseHost }, ...rest }) =>
    new GatewayEntry({ ...rest, isShared: shared !== undefined, advertiseHost }),
  join: (entry, { signal }) => entry.join(signal),
  leave: (entry, { signal }) => entry.leave(signal),
});

/** Requests go on by what each limit says for it: it only tells. */
const provideLimitCheck = provider({
  provides: healthChecks,
  needs: { own: gateway },
  create: ({ own }) => ({
    name: "gateway.limits",
    critical: false,
    run: () => {
      if (own.isLimitStoreDegraded) throw new Error("the Redis that limits are shared in does not answer");
    },
  }),
});

/** The gateway of the document that the setting `gateway.routes` names. */
export const gatewayModule = gatewayModuleOf();

/** Ties the keeper to the reloads of the app. */
class KeptDocument {
  readonly #keeper: DocumentKeeper | undefined;
  readonly #events: AppEvents;
  #unsubscribe: (() => void) | undefined;

  constructor(keeper: DocumentKeeper | undefined, events: AppEvents) {
    this.#keeper = keeper;
    this.#events = events;
  }

  start(): void {
    const keeper = this.#keeper;
    if (!keeper) return;
    keeper.watch();
    this.#unsubscribe = this.#events.subscribe((event) => event.type === "config" && void keeper.reload());
  }

  end(): void {
    this.#unsubscribe?.();
    this.#keeper?.close();
  }
}

function noPlace(): GatewayConfigError {
  const problem =
    "expected the path of the gateway's document, or consul: and a key of Consul's store; set PLINTH_GATEWAY_ROUTES";
  return new GatewayConfigError([{ key: "gateway.routes", problem, source: "default" }]);
}
