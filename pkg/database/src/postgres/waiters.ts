import type { Clock } from "@plinth/kernel";
import type { DatabaseError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { Claim } from "./holders.ts";
import { acquireTimeout } from "./pool-errors.ts";
import type { PoolStats } from "./pool-options.ts";
import { onAnyAbort } from "./abort.ts";
import { cancelledBy } from "./sqlstate.ts";

export interface Waiter {
  readonly claim: Claim;
  readonly give: (connection: Connection) => void;
  readonly fail: (error: DatabaseError) => void;
}

export interface WaitersOptions {
  readonly clock: Clock;
  readonly acquireTimeoutMs: number;
  readonly stats: () => PoolStats;
  readonly onEnd: (waitedMs: number) => void;
}

/** Those who wait for a connection, each until its limit or signal: first come, first served. */
export class Waiters {
  readonly #options: WaitersOptions;
  readonly #queue = new Set<Waiter>();

  constructor(options: WaitersOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#queue.size;
  }

  /** @throws {@link DatabaseError} `ERR_DATABASE_ACQUIRE_TIMEOUT`, `ERR_DATABASE_CANCELLED`, and what {@link fail} is given. */
  add(signals: readonly AbortSignal[], claim: Claim): Promise<Connection> {
    const { clock, acquireTimeoutMs, stats, onEnd } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<Connection>();
    const startedAtMs = clock.monotonicMs();
    const settle = (): void => {
      this.#queue.delete(waiter);
      limit.cancel();
      forget();
      onEnd(clock.monotonicMs() - startedAtMs);
    };
    const waiter: Waiter = {
      claim,
      give: (connection) => {
        settle();
        resolve(connection);
      },
      fail: (error) => {
        settle();
        reject(error);
      },
    };
    const limit = clock.schedule(acquireTimeoutMs, () => waiter.fail(acquireTimeout(stats(), acquireTimeoutMs)));
    const forget = onAnyAbort(signals, (reason) => waiter.fail(cancelledBy(reason)));
    this.#queue.add(waiter);
    return promise;
  }

  /** The one who has waited longest; it is here until it is given something. */
  first(): Waiter | undefined {
    const [first] = this.#queue;
    return first;
  }

  /** Tells the first `count` of them. @returns how many there were. */
  fail(error: DatabaseError, count = Infinity): number {
    const told = [...this.#queue].slice(0, count);
    for (const waiter of told) waiter.fail(error);
    return told.length;
  }
}
