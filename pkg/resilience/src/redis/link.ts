import { type Clock, requireNumber, type Scheduled, type Span, systemClock } from "@plinth/kernel";
import { openConnection, type RedisConnection, type ScriptName } from "./connection.ts";
import { addressesOf, type RedisAddress, type RedisOptions } from "./options.ts";

export interface RedisLinkOptions extends RedisOptions {
  /** For opening connections again. Default: the system's. */
  readonly clock?: Clock | undefined;
}

/** Without any answer for so long, though asked, the connection is given up for another, in milliseconds. */
const silentMs = 5_000;
/** At most one connection is given up in so long, in milliseconds. */
const reopenMs = 1_000;

/**
 * The way to a Redis. Resolves when it is connected, or `connectTimeoutMs` has passed; then it goes on trying.
 * @throws {@link OptionError} `ERR_OPTION_RANGE` naming the option that is out of range, or the file that cannot be read.
 */
export async function openRedisLink(options: RedisLinkOptions): Promise<RedisLink> {
  const { connectTimeoutMs = 1_000, clock = systemClock } = options;
  requireNumber("connectTimeoutMs", connectTimeoutMs, { min: 10, max: 60_000 });
  const link = new RedisLink(options, clock);
  const late = Promise.withResolvers<void>();
  const timer = clock.schedule(connectTimeoutMs, () => late.resolve());
  await Promise.race([link.opened, late.promise]);
  timer.cancel();
  return link;
}

/** One connection after the other: another is opened in place of one that is lost, silent, or leads to a server that has become a replica. */
export class RedisLink {
  /** For the log: what it is and where, without secrets. */
  readonly name: string;
  readonly opened: Promise<void>;
  lastError: unknown;
  readonly #options: RedisLinkOptions;
  readonly #clock: Clock;
  readonly #addresses: [RedisAddress, ...RedisAddress[]];
  #connection: RedisConnection;
  /** Questions without an answer so far, and since when there are any, or the last answer came. */
  #waiting = 0;
  #waitingSinceMs = 0;
  #openedAtMs: number;
  #retry: Scheduled | undefined;
  #isClosed = false;

  constructor(options: RedisLinkOptions, clock: Clock) {
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

  /** @param parent - The question stands below it where it is sampled. */
  async run(script: ScriptName, keys: readonly string[], args: readonly string[], parent?: Span): Promise<unknown> {
    const span = parent?.sampled === true ? this.#startSpan(parent) : undefined;
    this.#giveUpSilent();
    const connection = this.#connection;
    if (this.#waiting++ === 0) this.#waitingSinceMs = this.#clock.monotonicMs();
    try {
      return await connection.run(script, keys, args);
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

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#retry?.cancel();
    destroy(this.#connection);
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
