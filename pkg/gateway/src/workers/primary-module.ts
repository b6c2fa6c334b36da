import {
  appEvents,
  appInfo,
  clock,
  createMetrics,
  defineModule,
  errorBus,
  logger,
  provider,
  token,
  type WorkersTeam,
} from "@plinth/kernel";
import { registry, registrySettings } from "@plinth/registry";
import { createMemoryRateStore, redisSettings } from "@plinth/resilience";
import { DocumentKeeper } from "../config/document-keeper.ts";
import { loadDocument } from "../config/document-source.ts";
import { parseDocument } from "../config/document.ts";
import { KeptDocument } from "../config/kept-document.ts";
import type { GatewayDocument } from "../config/schema.ts";
import { documentPlace, provideDocumentPlace } from "../document-place.ts";
import { GatewayEntry } from "../limits/limit-store-module.ts";
import type { GatewayPlugin } from "../plugins/define.ts";
import { passInstances } from "./instances.ts";
import { Places } from "./places.ts";
import { answerRates } from "./rates.ts";
import { shareRevocations } from "./revocations.ts";
import { DocumentRounds } from "./rounds.ts";

/** What the primary does for the gateways of its workers. */
interface GatewayPrimary {
  readonly keeper: KeptDocument;
  readonly close: () => Promise<void>;
}

const gatewayPrimary = token("gateway.primary").of<GatewayPrimary>();

/**
 * What runs in the primary beside the workers of a gateway: it reads the document, and has all workers take it or none; it counts
 * for them what they have together, limits and places; it tells all of them what one has revoked, and one what all know of instances; and it is one entry in the registry.
 *
 * @param document - As `gatewayModuleOf` has it. @param options.plugins - As there.
 * @example
 * const primary = (team) => createApp({ name: "gateway", modules: [coreModule, registryModule, gatewayPrimaryModuleOf(team)] });
 * await app.run({ workers: { count: 4, primary } });
 */
export function gatewayPrimaryModuleOf(
  team: WorkersTeam,
  document?: GatewayDocument,
  { plugins = [] }: { readonly plugins?: readonly GatewayPlugin[] } = {},
) {
  const provideGatewayPrimary = provider({
    provides: gatewayPrimary,
    needs: {
      place: documentPlace,
      events: appEvents,
      log: logger,
      errors: errorBus,
      clock,
      registry,
      redis: redisSettings,
      settings: registrySettings,
      info: appInfo,
    },
    create: async ({ place, events, log: all, errors, clock: time, redis, settings, ...rest }, { signal }) => {
      const log = all.named("gateway");
      const metrics = createMetrics();
      team.addMetrics(metrics);
      const places = new Places(team, time);
      const store = createMemoryRateStore({ clock: time });
      const ends = [answerRates(team, store), shareRevocations(team, time), passInstances(team), () => places.close()];
      let entry: GatewayEntry | undefined;
      const leaving = new AbortController();
      const check = (given: unknown) => parseDocument(given, { name: "code", places: new Map() }, plugins);
      const rounds = new DocumentRounds({
        team,
        clock: time,
        log,
        document: place ? await loadDocument(place, { signal, plugins }) : check(document ?? { routes: [] }),
        check,
        onListens: (own) => {
          if (entry) return;
          const isShared = redis.url !== undefined;
          entry = new GatewayEntry({ ...rest, own, isShared, advertiseHost: settings.advertiseHost });
          entry.join(leaving.signal).catch((error: unknown) => errors.report(error, { origin: "lifecycle" }));
        },
      });
      ends.push(() => rounds.close());
      const apply = rounds.reload.bind(rounds);
      const keeper = place && new DocumentKeeper({ errors, metrics, source: place, plugins, apply, log });
      return {
        keeper: new KeptDocument(keeper, events),
        close: async () => {
          leaving.abort(new Error("the gateway leaves the registry"));
          for (const end of ends.splice(0)) end();
          await entry?.leave(AbortSignal.timeout(leaveMs));
          entry = undefined;
        },
      };
    },
    start: ({ keeper }) => keeper.start(),
    drain: ({ keeper }) => keeper.end(),
    stop: async ({ keeper, close }) => {
      keeper.end();
      await close();
    },
  });
  return defineModule("gateway-primary", [provideDocumentPlace(document !== undefined), provideGatewayPrimary]);
}

/** The registry is waited for so long at the end, in milliseconds. */
const leaveMs = 3_000;
