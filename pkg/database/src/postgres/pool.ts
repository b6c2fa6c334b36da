import type { Clock, Scheduled } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import { ConnectGate } from "./connect-gate.ts";
import type { Connection } from "./connection.ts";
import { cancelledBy } from "./sqlstate.ts";

export interface PoolOptions {
  readonly maxConnections: number;
  readonly acquireTimeoutMs: number;
  readonly maxWaiting: number;
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
  /** `signal` aborts when the pool closes. */
  readonly open: (signal: AbortSignal) => Promise<Connection>;
  /** A connection broke while nobody used it, or could not be opened when nobody waited for it any more. */
  readonly onFault: (error: Error) => void;
  readonly events?: PoolEvents | undefined;
  /** Source of jitter in [0, 1), for the time between attempts to connect. Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** Why a connection was closed: unused for long, given back in a state that nobody can use, broken, or the pool has closed. */
export type CloseReason = "idle" | "unclean" | "lost" | "shutdown";

/** Told what happens in a pool. None of them may throw. */
export interface PoolEvents {
  /** Somebody got a connection, or gave up, after so many milliseconds. */
  acquired(waitedMs: number): void;
  /** One was opened, or could not be. */
  opened(tookMs: number, error?: DatabaseError): void;
  closed(reason: CloseReason): void;
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
  readonly #gate: ConnectGate;
  #opening = 0;
  #leaving = 0;
  #sweep: Scheduled | undefined;
  #retry: Scheduled | undefined;
  #closed: PromiseWithResolvers<void> | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#gate = new ConnectGate(options);
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
   * @throws {@link DatabaseError} `ERR_DATABASE_ACQUIRE_TIMEOUT`, `ERR_DATABASE_CANCELLED`, `ERR_DATABASE_CLOSED`, `ERR_DATABASE_OVERLOADED`,
   *   and what opening throws; while attempts to connect are held back, at once.
   */
  async acquire(signals: readonly AbortSignal[]): Promise<Connection> {
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted) throw cancelledBy(aborted.reason);
    if (this.#closed) throw closedError();
    const idle = this.#idle.pop();
    if (idle) {
      this.#inUse.add(idle.connection);
      this.#options.events?.acquired(0);
      return idle.connection;
    }
    if (this.#gate.waitMs > 0 && this.#inUse.size + this.#opening === 0) throw this.#gate.refusal();
    // Those for whom there is room wait only until theirs is open.
    if (this.#waiters.length - this.#room - this.#opening >= this.#options.maxWaiting) throw this.#overloaded();
    return this.#wait(signals);
  }

  /** Gives a connection back. One that broke, runs something still or stands in a transaction is cut, never reused. */
  release(connection: Connection): void {
    const wasCut = !this.#inUse.delete(connection); // by the end of the pool, which has told of it
    if (connection.clean && !this.#closed) this.#hand(connection);
    else if (connection.clean) this.#goodbye(connection, "shutdown");
    else {
      if (!wasCut) this.#options.events?.closed(connection.broke ? "lost" : "unclean");
      connection.destroy();
    }
    this.#grow();
    this.#finishClosing();
  }

  /** Refuses new work, lets running work end until `signal` aborts, then cuts it. Safe to call twice. */
  close(signal?: AbortSignal): Promise<void> {
    this.#closed ??= Promise.withResolvers<void>();
    this.#closing.abort();
    this.#sweep?.cancel();
    this.#retry?.cancel();
    for (const waiter of this.#waiters.splice(0)) waiter.fail(closedError());
    for (const { connection } of this.#idle.splice(0)) this.#goodbye(connection, "shutdown");
    const cut = (): void => {
      for (const connection of this.#inUse) {
        connection.destroy(closedError());
        this.#options.events?.closed("shutdown");
      }
      this.#inUse.clear();
      this.#finishClosing();
    };
    signal?.addEventListener("abort", cut, { once: true });
    if (signal?.aborted) cut();
    this.#finishClosing();
    return this.#closed.promise.finally(() => signal?.removeEventListener("abort", cut));
  }

  #wait(signals: readonly AbortSignal[]): Promise<Connection> {
    const { clock, acquireTimeoutMs, events } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<Connection>();
    const startedAtMs = clock.monotonicMs();
    const settle = (): void => {
      limit.cancel();
      for (const signal of signals) signal.removeEventListener("abort", onAbort);
      events?.acquired(clock.monotonicMs() - startedAtMs);
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

  #overloaded(): DatabaseError {
    const { inUse, waiting, maxConnections } = this.stats();
    return new DatabaseError(
      "ERR_DATABASE_OVERLOADED",
      "unavailable",
      `${waiting} queries wait for a connection already, as many as maxWaiting allows; ${inUse} of ${maxConnections} connections are in use`,
    );
  }

  /** How many more connections may be opened. */
  get #room(): number {
    return this.#options.maxConnections - this.#inUse.size - this.#idle.length - this.#opening;
  }

  /** Opens what the waiting need, as far as the limit and the gate allow. */
  #grow(): void {
    if (this.#closed) return;
    const wanted = Math.min(this.#room, this.#waiters.length - this.#opening);
    if (wanted <= 0) return;
    for (let left = this.#gate.admit(wanted, this.#opening); left > 0; left--) void this.#open();
    if (this.#opening === 0) this.#growLater();
  }

  /** Who waits for a connection in use may still get a new one, when the gate opens. */
  #growLater(): void {
    this.#retry ??= this.#options.clock.schedule(
      Math.max(1, this.#gate.waitMs),
      () => {
        this.#retry = undefined;
        this.#grow();
      },
      { keepAlive: false },
    );
  }

  async #open(): Promise<void> {
    const { clock, open, events } = this.#options;
    const startedAtMs = clock.monotonicMs();
    this.#opening++;
    try {
      const connection = await open(this.#closing.signal);
      this.#opening--;
      events?.opened(clock.monotonicMs() - startedAtMs);
      this.#gate.succeeded();
      connection.onLost((error) => this.#forget(connection, error));
      if (this.#closed) this.#goodbye(connection, "shutdown");
      else this.#hand(connection);
    } catch (error) {
      this.#opening--;
      const fault = error instanceof DatabaseError ? error : unexpected(error);
      if (!this.#closed) this.#failToOpen(fault, startedAtMs);
    }
    this.#grow();
    this.#finishClosing();
  }

  /** Tells the one it was opened for; and all who wait, when there is nothing that they could wait for. */
  #failToOpen(fault: DatabaseError, startedAtMs: number): void {
    const { clock, events, onFault } = this.#options;
    events?.opened(clock.monotonicMs() - startedAtMs, fault);
    this.#gate.failed(fault, startedAtMs);
    const hasHope = this.#inUse.size + this.#opening > 0;
    const told = this.#waiters.splice(0, hasHope ? 1 : Infinity);
    for (const waiter of told) waiter.fail(fault);
    if (told.length === 0) onFault(fault);
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
    if (this.#idle.length === idle) return;
    this.#options.events?.closed("lost");
    this.#options.onFault(error);
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
      for (const { connection } of expired) this.#goodbye(connection, "idle");
      this.#scheduleSweep();
    };
    this.#sweep = clock.schedule(delayMs, task, { keepAlive: false });
  }

  #goodbye(connection: Connection, reason: CloseReason): void {
    this.#leaving++;
    this.#options.events?.closed(reason);
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
