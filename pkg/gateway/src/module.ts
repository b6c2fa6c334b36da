import {
  appControl,
  appEvents,
  appInfo,
  clock,
  defineModule,
  errorBus,
  health,
  healthChecks,
  logger,
  metrics,
  optional,
  provider,
  token,
  tracing,
} from "@plinth/kernel";
import { registry, registrySettings } from "@plinth/registry";
import type { AuthClients } from "./auth/asked-services.ts";
import type { DocumentChanges } from "./config/changes.ts";
import { DocumentKeeper } from "./config/document-keeper.ts";
import { loadDocument } from "./config/document-source.ts";
import { KeptDocument } from "./config/kept-document.ts";
import type { GatewayDocument, ParsedDocument } from "./config/schema.ts";
import { documentPlace, provideDocumentPlace } from "./document-place.ts";
import type { Gateway } from "./contract.ts";
import { createGateway } from "./gateway.ts";
import type { GatewayPlugin } from "./plugins/define.ts";
import { GatewayEntry, LimitStore, limitStore } from "./limits/limit-store-module.ts";
import { openRedisRateStore, redisSettings } from "@plinth/resilience";
import { provideRevocationStore, revocationStore } from "./auth/revocation-store-module.ts";
import { gatewaySettings } from "./options.ts";
import { gatewayTeam, provideTeamCheck, provideTeamWith } from "./workers/module.ts";

export const gateway = token("gateway").of<Gateway>();

/** Whom the gateway of this app asks about its callers; `gatewayServicesModule` provides it. */
export const gatewayAuthClients = token("gateway.auth-clients").of<AuthClients>();

/**
 * A gateway with routes written in code.
 *
 * @param document - Absent: read from the place that the setting `gateway.routes` names, and again whenever it changes there, or the
 *   app reloads its config, as at SIGHUP.
 * @param options.plugins - Layers of the program's own, which the document configures under `plugins`. Default: none.
 */
export function gatewayModuleOf(
  document?: GatewayDocument,
  { plugins = [] }: { readonly plugins?: readonly GatewayPlugin[] } = {},
) {
  const provideGateway = provider({
    provides: gateway,
    needs: {
      settings: gatewaySettings,
      place: documentPlace,
      team: gatewayTeam,
      limitStore,
      revocationStore,
      authClients: optional(gatewayAuthClients),
      registry,
      clock,
      log: logger,
      metrics,
      tracing,
      errors: errorBus,
      health,
      control: appControl,
    },
    create: async ({ settings, place, team, health: state, control, ...rest }, { signal }) => {
      const own = createGateway({
        ...rest,
        log: rest.log.named("gateway"),
        settings,
        plugins,
        onDied: (error) => control.fail(error, "process"),
        team,
        document:
          team?.document ?? document ?? (place ? await loadDocument(place, { signal, plugins }) : { routes: [] }),
      });
      team?.join(own);
      state.onState((next) => next === "draining" && own.announceDrain());
      return own;
    },
    start: (own, { signal }) => own.listen({ signal }),
    drain: (own, { signal }) => own.drain({ signal }),
    stop: (own) => own.close(),
    limits: { drainMs: Infinity }, // that of the app's drain, at which it ends what is left, and has a moment for that
  });
  return defineModule("gateway", [
    provideDocumentPlace(document !== undefined),
    provideTeamWith(plugins),
    provideTeamCheck,
    provideJoin,
    provideGateway,
    provideKeeperWith(plugins),
    provideKeysCheck,
    provideLimitStore,
    provideRevocationStore,
    provideEntry,
    provideLimitCheck,
    provideRevocationCheck,
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
const provideKeeperWith = (plugins: readonly GatewayPlugin[]) =>
  provider({
    provides: token("gateway.keeper").of<KeptDocument>(),
    needs: {
      gateway,
      team: gatewayTeam,
      place: documentPlace,
      events: appEvents,
      log: logger,
      errors: errorBus,
      metrics,
    },
    create: ({ gateway: own, team, place, events, log, ...seams }) => {
      const apply = (next: ParsedDocument): Promise<DocumentChanges> => own.reload(next);
      // among workers the primary reads it
      const keeper =
        team || !place
          ? undefined
          : new DocumentKeeper({ ...seams, source: place, plugins, apply, log: log.named("gateway") });
      return new KeptDocument(keeper, events);
    },
    start: (kept) => kept.start(),
    drain: (kept) => kept.end(),
    stop: (kept) => kept.end(),
  });

/** The primary is told where this worker listens. */
const provideJoin = provider({
  provides: token("gateway.join").of<() => void>(),
  needs: { own: gateway, team: gatewayTeam },
  create:
    ({ own, team }) =>
    () =>
      team?.join(own),
  join: (tell) => tell(),
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
  needs: { own: gateway, team: gatewayTeam, limitStore, registry, settings: registrySettings, info: appInfo },
  create: ({ team, limitStore: shared, settings: { advertiseHost }, ...rest }) =>
    new GatewayEntry({ ...rest, isShared: shared !== undefined && !team, advertiseHost }),
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
      if (own.isLimitStoreDegraded)
        throw new Error("the Redis or the primary that limits are counted in does not answer");
    },
  }),
});

/** It goes on by the revocations that it knows: it only tells. */
const provideRevocationCheck = provider({
  provides: healthChecks,
  needs: { own: gateway },
  create: ({ own }) => ({
    name: "gateway.revocations",
    critical: false,
    run: () => {
      if (own.isRevocationStoreDegraded) throw new Error("the Redis that revocations are shared in does not answer");
    },
  }),
});

/** The gateway of the document that the setting `gateway.routes` names. */
export const gatewayModule = gatewayModuleOf();
