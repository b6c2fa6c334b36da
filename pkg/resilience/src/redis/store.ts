import { createHash } from "node:crypto";
import { type Clock, requireNumber, type Scheduled, type Span, systemClock } from "@plinth/kernel";
import { type RateVerdict, sliceMsOf } from "../rate-limiter.ts";
import type { RateAsk, RateStore } from "../shared/types.ts";
import { openConnection, type RedisConnection } from "./connection.ts";
import { addressesOf, type RedisAddress, type RedisOptions } from "./options.ts";

export interface RedisRateStoreOptions extends RedisOptions {
  /** For opening connections again. Default: the system's. */
  readonly clock?: Clock | undefined;
}

/** Without any answer for so long, though asked, the connection is given up for another, in milliseconds. */
const silentMs = 5_000;
/** At most one connection is given up in so long, in milliseconds. */
const reopenMs = 1_000;

/**
 * Counts in Redis, or what speaks like it. Resolves when it is connected, or `connectTimeoutMs` has passed; then it goes on trying.
 * Keys hold hashes: neither subjects, addresses nor API keys stand in the store.
 *
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range, or the file that cannot be read.
 */
export async function openRedisStore(options: RedisRateStoreOptions): Promise<RateStore> {
  const { connectTimeoutMs = 1_000, clock = systemClock } = options;
  requireNumber("connectTimeoutMs", connectTimeoutMs, { min: 10, max: 60_000 });
  const store = new RedisStore(options, clock);
  const late = Promise.withResolvers<void>();
  const timer = clock.schedule(connectTimeoutMs, () => late.resolve());
  await Promise.race([store.opened, late.promise]);
  timer.cancel();
  return store;
}

class RedisStore implements RateStore {
  readonly name: string;
  readonly opened: Promise<void>;
  lastError: unknown;
  readonly #options: RedisRateStoreOptions;
  readonly #clock: Clock;
  readonly #addresses: [RedisAddress, ...RedisAddress[]];
  #connection: RedisConnection;
  /** Questions without an answer so far, and since when there are any, or the last answer came. */
  #waiting = 0;
  #waitingSinceMs = 0;
  #openedAtMs: number;
  #retry: Scheduled | undefined;
  #isClosed = false;

  constructor(options: RedisRateStoreOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
    this.#addresses = addressesOf(options);
    this.name = this.#addresses.map(({ host, port }) => `redis ${host}:${port}`).join(", ");
    this.#openedAtMs = clock.monotonicMs();
    this.#connection = this.#make();
    this.opened = this.#connect(this.#connection);
  }

  get isReady(): boolean {
    return this.#connection.isReady;
  }

  async take(ask: RateAsk, span?: Span): Promise<RateVerdict> {
    const { limit, windowMs, cost, owed } = ask;
    const nowMs = this.#options.nowMs?.();
    const numbers = [limit, windowMs, sliceMsOf(windowMs), cost, owed, nowMs ?? ""].map(String);
    return toVerdict(await this.#send("take", ask, numbers, span));
  }

  async giveBack(ask: RateAsk, span?: Span): Promise<void> {
    await this.#send("giveBack", ask, [String(ask.cost)], span);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#retry?.cancel();
    destroy(this.#connection);
  }

  async #send(what: "take" | "giveBack", ask: RateAsk, args: string[], parent: Span | undefined): Promise<unknown> {
    const span = parent?.sampled === true ? this.#startSpan(parent) : undefined;
    this.#giveUpSilent();
    const connection = this.#connection;
    if (this.#waiting++ === 0) this.#waitingSinceMs = this.#clock.monotonicMs();
    try {
      return await connection[what](this.#keyOf(ask), args);
    } catch (error) {
      span?.fail(error);
      if (connection === this.#connection && connection.isReady) this.#failed(error);
      throw error;
    } finally {
      this.#waiting--;
      this.#waitingSinceMs = this.#clock.monotonicMs();
      span?.end();
    }
  }

  /** The braces make a Cluster keep all that belongs to one key on one node. With another window its slices are others. */
  #keyOf({ name, key, windowMs }: RateAsk): string {
    const hash = createHash("sha256").update(key).digest("base64url").slice(0, 22);
    return `${this.#options.keyPrefix ?? "plinth"}:rate:{${name}:${windowMs}:${hash}}`;
  }

  #startSpan(parent: Span): Span | undefined {
    const [{ host, port, database }] = this.#addresses;
    return this.#options.tracing?.startSpan("EVALSHA", {
      kind: "client",
      parent,
      attributes: {
        "db.system.name": "redis",
        "db.namespace": String(database),
        "db.operation.name": "EVALSHA",
        "server.address": host,
        "server.port": port === 6_379 ? undefined : port,
      },
    });
  }

  #failed(error: unknown): void {
    this.lastError = error;
    // The server has become a replica: the name may lead to the new primary by now.
    if (error instanceof Error && error.message.startsWith("READONLY")) this.#reopen(reopenMs);
  }

  /** A connection whose other end has gone without a word looks like one to a slow server. */
  #giveUpSilent(): void {
    if (this.#waiting === 0) return;
    if (this.#clock.monotonicMs() - this.#waitingSinceMs > silentMs) this.#reopen(silentMs);
  }

  #reopen(atMostEveryMs: number): void {
    if (this.#isClosed || this.#clock.monotonicMs() - this.#openedAtMs < atMostEveryMs) return;
    const before = this.#connection;
    this.#openedAtMs = this.#clock.monotonicMs();
    this.#connection = this.#make();
    void this.#connect(this.#connection);
    destroy(before);
  }

  #make(): RedisConnection {
    return openConnection(this.#options, this.#addresses, (error) => (this.lastError = error));
  }

  /** Never rejects: where the client gives up, a new one is made later. */
  async #connect(connection: RedisConnection): Promise<void> {
    try {
      await connection.connect();
      if (this.#isClosed) destroy(connection);
    } catch (error) {
      if (this.#isClosed || connection !== this.#connection) return;
      this.lastError = error;
      this.#retry = this.#clock.schedule(reopenMs, () => this.#reopen(0), { keepAlive: false });
    }
  }
}

function destroy(connection: RedisConnection): void {
  try {
    connection.destroy();
  } catch {
    // it had not been opened, or was closed already: there is nothing left to end
  }
}

function toVerdict(reply: unknown): RateVerdict {
  if (!Array.isArray(reply) || reply.length !== 4) throw new Error("the store gave no verdict");
  const [allowed = 0, remaining = 0, retryAfterMs = 0, resetMs = 0] = reply.map(Number);
  return { allowed: allowed === 1, remaining, retryAfterMs, resetMs };
}
