import { clock, provider, token } from "@plinth/kernel";
import { openRedisTexts, redisSettings, type SharedTexts } from "@plinth/resilience";

/** Where gateways share their revocations, the Redis that `redis.url` names; undefined where there is none. */
export const revocationStore = token("gateway.revocation-store").of<SharedTexts | undefined>();

/** Opened before the gateway, closed after it. A connection of its own: long answers keep no limit waiting. */
export const provideRevocationStore = provider({
  provides: revocationStore,
  needs: { settings: redisSettings, clock },
  create: async ({ settings: { url, ...settings }, clock: time }) =>
    url === undefined ? undefined : openRedisTexts({ url, ...settings, list: "revocations", clock: time }),
  stop: (store) => store?.close(),
});
