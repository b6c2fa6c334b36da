import type { Clock, Scheduled } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { cancelledBy } from "./sqlstate.ts";

export interface PoolOptions {
  readonly maxConnections: number;
  readonly acquireTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
  /** `signal` aborts when the pool closes. */
  readonly open: (signal: AbortSignal) => Promise<Connection>;
  /** A connection broke while nobody used it, or could not be opened when nobody waited for it any more. */
  readonly onFault: (error: Error) => void;
  /** Somebody got a connection, or gave up, after so many milliseconds. */
  readonly onAcquire?: ((waitedMs: number) => void) | undefined;
}

export interface PoolStats {
  readonly inUse: number;
  readonly idle: number;
  readonly opening: number;
  /** Queries that wait for a connection. */
  readonly waiting: number;
  readonly maxConnections: number;
}

interface Waiter {
  readonly give: (connection: Connection) => void;
  readonly fail: (error: DatabaseError) => void;
}

interface Idle {
  readonly connection: Connection;
  readonly sinceMs: number;
}

/**
 * Connections of one service: first come, first served. Ours and not pg's, because there one limit stands for waiting and for
 * connecting, a wait cannot be cancelled, setting up a session has no limit, and an end waits for busy connections for ever.
 */
export class Pool {
  readonly #options: PoolOptions;
  #idle: Idle[] = [];
  readonly #inUse = new Set<Connection>();
  readonly #waiters: Waiter[] = [];
  readonly #closing = new AbortController();
  #opening = 0;
  #leaving = 0;
  #sweep: Scheduled | undefined;
  #closed: PromiseWithResolvers<void> | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  stats(): PoolStats {
    return {
      inUse: this.#inUse.size,
      idle: this.#idle.length,
      opening: this.#opening,
      waiting: this.#waiters.length,
      maxConnections: this.#options.maxConnections,
    };
  }

  /**
   * A connection for the caller alone, until {@link release}.
   * @throws {@link DatabaseError} `ERR_DATABASE_ACQUIRE_TIMEOUT`, `ERR_DATABASE_CANCELLED`, `ERR_DATABASE_CLOSED`, and what opening throws.
   */
  async acquire(signals: readonly AbortSignal[]): Promise<Connection> {
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted) throw cancelledBy(aborted.reason);
    if (this.#closed) throw closedError();
    const idle = this.#idle.pop();
    if (idle) {
      this.#inUse.add(idle.connection);
      this.#options.onAcquire?.(0);
      return idle.connection;
    }
    return this.#wait(signals);
  }

  /** Gives a connection back. One that broke, runs something still or stands in a transaction is cut, never reused. */
  release(connection: Connection): void {
    this.#inUse.delete(connection);
    if (connection.clean && !this.#closed) this.#hand(connection);
    else if (connection.clean) this.#goodbye(connection);
    else connection.destroy();
    this.#grow();
    this.#finishClosing();
  }

  /** Refuses new work, lets running work end until `signal` aborts, then cuts it. Safe to call twice. */
  close(signal?: AbortSignal): Promise<void> {
    this.#closed ??= Promise.withResolvers<void>();
    this.#closing.abort();
    this.#sweep?.cancel();
    for (const waiter of this.#waiters.splice(0)) waiter.fail(closedError());
    for (const { connection } of this.#idle.splice(0)) this.#goodbye(connection);
    const cut = (): void => {
      for (const connection of this.#inUse) connection.destroy(closedError());
      this.#inUse.clear();
      this.#finishClosing();
    };
    signal?.addEventListener("abort", cut, { once: true });
    if (signal?.aborted) cut();
    this.#finishClosing();
    return this.#closed.promise.finally(() => signal?.removeEventListener("abort", cut));
  }

  #wait(signals: readonly AbortSignal[]): Promise<Connection> {
    const { clock, acquireTimeoutMs, onAcquire } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<Connection>();
    const startedAtMs = clock.monotonicMs();
    const settle = (): void => {
      limit.cancel();
      for (const signal of signals) signal.removeEventListener("abort", onAbort);
      onAcquire?.(clock.monotonicMs() - startedAtMs);
    };
    const waiter: Waiter = {
      give: (connection) => {
        settle();
        resolve(connection);
      },
      fail: (error) => {
        settle();
        reject(error);
      },
    };
    const giveUp = (error: DatabaseError): void => {
      const place = this.#waiters.indexOf(waiter);
      if (place === -1) return;
      this.#waiters.splice(place, 1);
      waiter.fail(error);
    };
    const onAbort = (): void => giveUp(cancelledBy(signals.find((signal) => signal.aborted)?.reason));
    const limit = clock.schedule(acquireTimeoutMs, () => giveUp(this.#acquireTimeout()));
    for (const signal of signals) signal.addEventListener("abort", onAbort, { once: true });
    this.#waiters.push(waiter);
    this.#grow();
    return promise;
  }

  #acquireTimeout(): DatabaseError {
    const { inUse, opening, waiting, maxConnections } = this.stats();
    const { acquireTimeoutMs } = this.#options;
    const advice =
      inUse < maxConnections
        ? "the server is slow to open connections"
        : "raise maxConnections, or look for one that is held for too long";
    return new DatabaseError(
      "ERR_DATABASE_ACQUIRE_TIMEOUT",
      "unavailable",
      `no connection free after ${acquireTimeoutMs} ms: ${inUse} of ${maxConnections} in use, ${opening} being opened, ${waiting - 1} more waiting; ${advice}`,
    );
  }

  /** Opens what the waiting need, as far as the limit allows. */
  #grow(): void {
    const room = this.#options.maxConnections - this.#inUse.size - this.#idle.length - this.#opening;
    const wanted = this.#waiters.length - this.#opening;
    for (let opened = 0; opened < Math.min(room, wanted); opened++) void this.#open();
  }

  async #open(): Promise<void> {
    this.#opening++;
    try {
      const connection = await this.#options.open(this.#closing.signal);
      this.#opening--;
      connection.onLost((error) => this.#forget(connection, error));
      if (this.#closed) this.#goodbye(connection);
      else this.#hand(connection);
    } catch (error) {
      this.#opening--;
      const fault = error instanceof DatabaseError ? error : unexpected(error);
      const waiter = this.#waiters.shift();
      if (waiter) waiter.fail(fault);
      else if (!this.#closed) this.#options.onFault(fault);
      this.#grow();
    }
    this.#finishClosing();
  }

  #hand(connection: Connection): void {
    const waiter = this.#waiters.shift();
    if (waiter) {
      this.#inUse.add(connection);
      waiter.give(connection);
      return;
    }
    this.#idle.push({ connection, sinceMs: this.#options.clock.monotonicMs() });
    this.#scheduleSweep();
  }

  /** The one that broke while idle; what breaks in use is told by its statement. */
  #forget(connection: Connection, error: Error): void {
    const idle = this.#idle.length;
    this.#idle = this.#idle.filter((entry) => entry.connection !== connection);
    if (this.#idle.length < idle) this.#options.onFault(error);
  }

  #scheduleSweep(): void {
    const { clock, idleTimeoutMs } = this.#options;
    const [oldest] = this.#idle;
    if (this.#sweep || !oldest) return;
    const delayMs = Math.max(1, oldest.sinceMs + idleTimeoutMs - clock.monotonicMs());
    const task = (): void => {
      this.#sweep = undefined;
      const untilMs = clock.monotonicMs() - idleTimeoutMs;
      const expired = this.#idle.filter(({ sinceMs }) => sinceMs <= untilMs);
      this.#idle = this.#idle.filter(({ sinceMs }) => sinceMs > untilMs);
      for (const { connection } of expired) this.#goodbye(connection);
      this.#scheduleSweep();
    };
    this.#sweep = clock.schedule(delayMs, task, { keepAlive: false });
  }

  #goodbye(connection: Connection): void {
    this.#leaving++;
    void connection
      .close()
      .catch((error: unknown) => this.#options.onFault(unexpected(error)))
      .finally(() => {
        this.#leaving--;
        this.#finishClosing();
      });
  }

  #finishClosing(): void {
    if (this.#inUse.size + this.#opening + this.#leaving === 0) this.#closed?.resolve();
  }
}

function closedError(): DatabaseError {
  return new DatabaseError("ERR_DATABASE_CLOSED", "unavailable", "the database client is closed or closing");
}

function unexpected(cause: unknown): DatabaseError {
  return new DatabaseError("ERR_DATABASE_UNAVAILABLE", "unavailable", "the database cannot be reached", { cause });
}
