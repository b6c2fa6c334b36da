import { createHash } from "node:crypto";
import type { Span } from "@plinth/kernel";
import { type RateVerdict, sliceMsOf } from "../rate-limiter.ts";
import type { RateAsk, RateStore } from "../shared/types.ts";
import { openRedisLink, type RedisLink, type RedisLinkOptions } from "./link.ts";

export interface RedisRateStoreOptions extends RedisLinkOptions {
  /** Time by which is counted, in whole milliseconds, for tests. Default: the server's. */
  readonly nowMs?: (() => number) | undefined;
}

/**
 * Counts in Redis, or what speaks like it. Resolves when it is connected, or `connectTimeoutMs` has passed; then it goes on trying.
 * Keys hold hashes: neither subjects, addresses nor API keys stand in the store.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range, or the file that cannot be read.
 */
export async function openRedisStore(options: RedisRateStoreOptions): Promise<RateStore> {
  return new RedisStore(await openRedisLink(options), options);
}

class RedisStore implements RateStore {
  readonly #link: RedisLink;
  readonly #options: RedisRateStoreOptions;

  constructor(link: RedisLink, options: RedisRateStoreOptions) {
    this.#link = link;
    this.#options = options;
  }

  get name(): string {
    return this.#link.name;
  }

  get isReady(): boolean {
    return this.#link.isReady;
  }

  get lastError(): unknown {
    return this.#link.lastError;
  }

  async take(ask: RateAsk, span?: Span): Promise<RateVerdict> {
    const { limit, windowMs, cost, owed } = ask;
    const nowMs = this.#options.nowMs?.();
    const numbers = [limit, windowMs, sliceMsOf(windowMs), cost, owed, nowMs ?? ""].map(String);
    return toVerdict(await this.#link.run("take", [this.#keyOf(ask)], numbers, span));
  }

  async giveBack(ask: RateAsk, span?: Span): Promise<void> {
    await this.#link.run("giveBack", [this.#keyOf(ask)], [String(ask.cost)], span);
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  /** The braces make a Cluster keep all that belongs to one key on one node. With another window its slices are others. */
  #keyOf({ name, key, windowMs }: RateAsk): string {
    const hash = createHash("sha256").update(key).digest("base64url").slice(0, 22);
    return `${this.#options.keyPrefix ?? "plinth"}:rate:{${name}:${windowMs}:${hash}}`;
  }
}

function toVerdict(reply: unknown): RateVerdict {
  if (!Array.isArray(reply) || reply.length !== 4) throw new Error("the store gave no verdict");
  const [allowed = 0, remaining = 0, retryAfterMs = 0, resetMs = 0] = reply.map(Number);
  return { allowed: allowed === 1, remaining, retryAfterMs, resetMs };
}
