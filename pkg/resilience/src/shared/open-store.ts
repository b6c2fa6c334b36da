import type { RedisRateStoreOptions } from "../redis/store.ts";
import type { RedisTextsOptions } from "../redis/texts.ts";
import type { SharedTexts } from "./texts.ts";
import type { RateStore } from "./types.ts";

/**
 * Counts of rate limits in Redis, for {@link createSharedRateLimiter}. The client is loaded here and not before. Resolves when it is
 * connected, or after `connectTimeoutMs` without; then it goes on trying. Keys hold hashes of what is counted, never the thing itself.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 */
export async function openRedisRateStore(options: RedisRateStoreOptions): Promise<RateStore> {
  const { openRedisStore } = await import("../redis/store.ts");
  return openRedisStore(options);
}

/**
 * A list of texts in Redis that several processes keep copies of. The client is loaded here and not before. Resolves when it is connected,
 * or after `connectTimeoutMs` without; then it goes on trying. The texts stand in Redis as they are.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range.
 */
export async function openRedisTexts(options: RedisTextsOptions): Promise<SharedTexts> {
  const { openTexts } = await import("../redis/texts.ts");
  return openTexts(options);
}
