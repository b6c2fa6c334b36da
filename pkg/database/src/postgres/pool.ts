import type { Scheduled } from "@plinth/kernel";
import { DatabaseError } from "../errors.ts";
import { ConnectGate } from "./connect-gate.ts";
import type { Connection } from "./connection.ts";
import { Holders, type HoldersOptions } from "./holders.ts";
import { IdleConnections } from "./idle.ts";
import { closedError, overloaded, unexpected } from "./pool-errors.ts";
import type { CloseReason, PoolOptions, PoolStats } from "./pool-options.ts";
import { graceMs } from "./runner.ts";
import { noAnswer, SilenceError } from "./silence.ts";
import { cancelledBy, toConnectError } from "./sqlstate.ts";
import { Waiters } from "./waiters.ts";

export type { CloseReason, PoolEvents, PoolOptions, PoolStats } from "./pool-options.ts";

/** Lifetimes differ by this part of them to either side, so that connections opened together are not closed together. */
const lifetimeJitter = 0.1;
/** However many writes are refused, the pool changes its server at most once in so long. */
const leastBetweenFailoversMs = 1_000;

/**
 * Connections of one service: first come, first served. Ours and not pg's, because there one limit stands for waiting and for
 * connecting, a wait cannot be cancelled, setting up a session has no limit, and an end waits for busy connections for ever.
 */
export class Pool {
  readonly #options: PoolOptions;
  readonly #idle: IdleConnections;
  readonly #holders: Holders;
  readonly #waiters: Waiters;
  readonly #closing = new AbortController();
  readonly #gate: ConnectGate;
  #opening = 0;
  #leaving = 0;
  #retry: Scheduled | undefined;
  #closed: PromiseWithResolvers<void> | undefined;
  /** When a connection was last given back in order, so that the server must have answered. */
  #answeredAtMs = -Infinity;
  #failedOverAtMs = -Infinity;
  /** Set by the first connection: then the least number is kept. */
  #isWarm = false;
  #hasTakenWrites = false;
  #isFaultTold = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#gate = new ConnectGate(options);
    const { clock, idleTimeoutMs, acquireTimeoutMs, maxHeldMs = 0, withStacks = false, minConnections = 0 } = options;
    this.#idle = new IdleConnections({
      clock,
      idleTimeoutMs,
      surplus: () => this.#total - minConnections,
      onExpired: (connection, reason) => {
        this.#goodbye(connection, reason);
        this.#grow();
      },
    });
    const onHeld: HoldersOptions["onHeld"] = (error, held) => {
      options.events?.held();
      options.onFault(error, held);
    };
    this.#holders = new Holders({ clock, maxHeldMs, withStacks, onHeld });
    const onEnd = (waitedMs: number): void => options.events?.acquired(waitedMs);
    this.#waiters = new Waiters({ clock, acquireTimeoutMs, stats: () => this.stats(), onEnd });
  }

  stats(): PoolStats {
    const longest = this.#holders.longest();
    return {
      inUse: this.#holders.size,
      idle: this.#idle.size,
      opening: this.#opening,
      waiting: this.#waiters.size,
      maxConnections: this.#options.maxConnections,
      longestHeldMs: longest?.heldMs ?? 0,
      longestHeldBy: longest?.label,
      breaker: this.#gate.state,
    };
  }

  /**
   * A connection for the caller alone, until {@link release}.
   * @param label - Who takes it, for the messages; from a small fixed set. Default: the route or method that is being served.
   * @throws {@link DatabaseError} `ERR_DATABASE_ACQUIRE_TIMEOUT`, `ERR_DATABASE_CANCELLED`, `ERR_DATABASE_CLOSED`, `ERR_DATABASE_OVERLOADED`,
   *   and what opening throws; while attempts to connect are held back, at once.
   */
  async acquire(signals: readonly AbortSignal[], label?: string): Promise<Connection> {
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted) throw cancelledBy(aborted.reason);
    if (this.#closed) throw closedError();
    const claim = this.#holders.claim(label);
    const idle = this.#idle.pop();
    if (idle) {
      this.#holders.add(idle, claim);
      this.#options.events?.acquired(0);
      return idle;
    }
    if (this.#isServerAway()) {
      this.#options.events?.refused();
      throw this.#gate.refusal();
    }
    // Those for whom there is room wait only until theirs is open.
    if (this.#waiters.size - this.#room - this.#opening >= this.#options.maxWaiting) throw overloaded(this.stats());
    const taken = this.#waiters.add(signals, claim);
    this.#grow();
    return taken;
  }

  /** Gives a connection back. One that broke, runs something still or stands in a transaction is cut, never reused. */
  release(connection: Connection): void {
    if (connection.clean && !this.#closed && connection.refusedWrite && this.#isWriterSuspect(connection)) {
      void this.#lookAtWriter(connection);
      return;
    }
    const wasCut = !this.#holders.remove(connection); // by the end of the pool, which has told of it
    if (connection.clean && !this.#closed) {
      this.#answeredAtMs = this.#options.clock.monotonicMs();
      this.#gate.heard();
      if (connection.retireAtMs > this.#answeredAtMs) this.#hand(connection);
      else this.#goodbye(connection, connection.retireAtMs === -Infinity ? "failover" : "lifetime");
    } else if (connection.clean) this.#goodbye(connection, "shutdown");
    else {
      if (!wasCut) this.#options.events?.closed(connection.broke ? "lost" : "unclean");
      connection.destroy();
      if (connection.silent) this.#dropIdle(noAnswer(graceMs), this.#options.clock.monotonicMs() - graceMs);
    }
    this.#grow();
    this.#finishClosing();
  }

  /**
   * The server has not answered: unless it has answered somebody since, who waits is told, who comes is refused until a new connection
   * has been opened, and what is idle is cut.
   * @param sinceMs - When it was asked, in milliseconds of the monotonic clock.
   */
  distrust(error: SilenceError, sinceMs: number): void {
    if (this.#closed || !this.#dropIdle(error, sinceMs)) return;
    this.#gate.failed(error, this.#options.clock.monotonicMs(), true);
    this.#waiters.fail(error);
  }

  /** Refuses new work, lets running work end until `signal` aborts, then cuts it. Safe to call twice. */
  close(signal?: AbortSignal): Promise<void> {
    this.#closed ??= Promise.withResolvers<void>();
    this.#closing.abort();
    this.#idle.close();
    this.#holders.close();
    this.#retry?.cancel();
    this.#waiters.fail(closedError());
    for (const connection of this.#idle.drain()) this.#goodbye(connection, "shutdown");
    const cut = (): void => {
      for (const connection of this.#holders.connections()) {
        this.#holders.remove(connection);
        connection.destroy(closedError());
        this.#options.events?.closed("shutdown");
      }
      this.#finishClosing();
    };
    signal?.addEventListener("abort", cut, { once: true });
    if (signal?.aborted) cut();
    this.#finishClosing();
    return this.#closed.promise.finally(() => signal?.removeEventListener("abort", cut));
  }

  get #total(): number {
    return this.#holders.size + this.#idle.size + this.#opening;
  }

  /** How many more connections may be opened. */
  get #room(): number {
    return this.#options.maxConnections - this.#total;
  }

  /** Whether there is nothing to wait for: no connection that may come back, and no attempt that may be made. */
  #isServerAway(): boolean {
    if (this.#gate.waitMs > 0) return !this.#mayComeBack() && this.#opening === 0;
    // the one for whom it is tried finds out, the others need not wait for the limit of that
    return this.#gate.isSilent && this.#opening > 0;
  }

  /** Whether a connection in use may be given back soon: a server that says nothing at all lets none of them go on. */
  #mayComeBack(): boolean {
    return this.#holders.size > 0 && !this.#gate.isSilent;
  }

  /** Opens what the waiting need, and what is kept open anyhow, as far as the limit and the gate allow. */
  #grow(): void {
    if (this.#closed) return;
    const { minConnections = 0 } = this.#options;
    const missing = this.#isWarm ? minConnections - this.#total : 0;
    const wanted = Math.min(this.#room, Math.max(this.#waiters.size - this.#opening, missing));
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
      if (connection.lost) {
        connection.destroy(); // it was told good-bye together with its greeting
        throw toConnectError(connection.lost);
      }
      this.#opening--;
      events?.opened(clock.monotonicMs() - startedAtMs);
      this.#welcome(connection);
    } catch (error) {
      this.#opening--;
      const fault = error instanceof DatabaseError ? error : unexpected(error);
      if (!this.#closed) this.#failToOpen(fault, startedAtMs);
    }
    this.#grow();
    this.#finishClosing();
  }

  #welcome(connection: Connection): void {
    const { clock, maxLifetimeMs = 0, random = Math.random } = this.#options;
    this.#gate.succeeded();
    this.#isWarm = true;
    this.#isFaultTold = false;
    this.#answeredAtMs = clock.monotonicMs();
    this.#hasTakenWrites ||= connection.takesWrites;
    if (maxLifetimeMs > 0) {
      connection.retireAtMs = this.#answeredAtMs + maxLifetimeMs * (1 + lifetimeJitter * (2 * random() - 1));
    }
    connection.onLost((error) => this.#forget(connection, error));
    if (this.#closed) this.#goodbye(connection, "shutdown");
    else this.#hand(connection);
  }

  /** Tells the one it was opened for; and all who wait, when there is nothing that they could wait for. */
  #failToOpen(fault: DatabaseError, startedAtMs: number): void {
    const { clock, events, onFault } = this.#options;
    events?.opened(clock.monotonicMs() - startedAtMs, fault);
    this.#gate.failed(fault, startedAtMs, fault instanceof SilenceError && this.#answeredAtMs < startedAtMs);
    const hasHope = this.#mayComeBack() || this.#opening > 0;
    const told = this.#waiters.fail(fault, hasHope ? 1 : Infinity);
    if (told > 0 || this.#isFaultTold) return;
    this.#isFaultTold = true; // until one opens: what is kept open is tried again and again
    onFault(fault);
  }

  #hand(connection: Connection): void {
    const waiter = this.#waiters.first();
    if (!waiter) {
      this.#idle.push(connection);
      return;
    }
    this.#holders.add(connection, waiter.claim);
    waiter.give(connection);
  }

  /** Whether a refused write may mean that the server is another one now, and not just the transaction read-only. */
  #isWriterSuspect(connection: Connection): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    const isLeaving = connection.retireAtMs === -Infinity; // one of before the failover says nothing new
    return this.#hasTakenWrites && !isLeaving && nowMs - this.#failedOverAtMs >= leastBetweenFailoversMs;
  }

  /** Asks the server; where it takes no writes any more, all connections are opened anew, those in use when they are given back. */
  async #lookAtWriter(connection: Connection): Promise<void> {
    const takesWrites = await connection.stillTakesWrites().catch(() => true); // then it is lost, and says so itself
    if (!takesWrites && !this.#closed) {
      this.#failedOverAtMs = this.#options.clock.monotonicMs();
      for (const held of this.#holders.connections()) held.retireAtMs = -Infinity;
      for (const idle of this.#idle.drain()) this.#goodbye(idle, "failover");
    }
    this.release(connection);
  }

  /** What nobody uses may lead nowhere as well, and would hold up whoever takes it: a new connection shows how it is. */
  #dropIdle(error: SilenceError, sinceMs: number): boolean {
    if (this.#answeredAtMs > sinceMs) return false;
    for (const connection of this.#idle.drain()) {
      connection.destroy(error);
      this.#options.events?.closed("lost");
    }
    return true;
  }

  /** The one that broke while idle; what breaks in use is told by its statement. */
  #forget(connection: Connection, error: Error): void {
    if (!this.#idle.remove(connection)) return;
    this.#options.events?.closed("lost");
    this.#options.onFault(error);
    this.#grow();
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
    if (this.#holders.size + this.#opening + this.#leaving === 0) this.#closed?.resolve();
  }
}
