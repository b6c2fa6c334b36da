import type { Clock } from "@plinth/kernel";
import type { DatabaseError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { LongestHeld } from "./holders.ts";

export interface PoolOptions {
  /** Kept open once the first one is. Default 0. */
  readonly minConnections?: number;
  readonly maxConnections: number;
  readonly acquireTimeoutMs: number;
  readonly maxWaiting: number;
  readonly idleTimeoutMs: number;
  /** 0 for ever, which is the default. */
  readonly maxLifetimeMs?: number;
  /** 0 as long as one likes, which is the default. */
  readonly maxHeldMs?: number;
  /** Whether to keep the stack of whoever takes a connection. Default false. */
  readonly withStacks?: boolean;
  readonly clock: Clock;
  /** `signal` aborts when the pool closes. */
  readonly open: (signal: AbortSignal) => Promise<Connection>;
  /** A connection broke while nobody used it, is held for too long, or could not be opened when nobody waited for it any more. */
  readonly onFault: (error: Error, held?: LongestHeld) => void;
  readonly events?: PoolEvents | undefined;
  /** Source of jitter in [0, 1), for the time between attempts to connect and for lifetimes. Default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/**
 * Why a connection was closed: unused for long, as old as it may get, given back in a state that nobody can use, broken, its server takes
 * no writes any more, or the pool has closed.
 */
export type CloseReason = "idle" | "lifetime" | "unclean" | "lost" | "failover" | "shutdown";

/** Told what happens in a pool. None of them may throw. */
export interface PoolEvents {
  /** Somebody got a connection, or gave up, after so many milliseconds. */
  acquired(waitedMs: number): void;
  /** One was opened, or could not be. */
  opened(tookMs: number, error?: DatabaseError): void;
  closed(reason: CloseReason): void;
  /** Somebody has held one for longer than `maxHeldMs`. */
  held(): void;
  /** Somebody was refused at once because the server is away. */
  refused(): void;
}

export interface PoolStats {
  readonly inUse: number;
  readonly idle: number;
  readonly opening: number;
  /** Queries that wait for a connection. */
  readonly waiting: number;
  readonly maxConnections: number;
  /** For how long the connection that was taken first is in use; 0 when none is. */
  readonly longestHeldMs: number;
  /** The label of whoever took it. */
  readonly longestHeldBy: string | undefined;
  /**
   * `open` while the server cannot be had: who needs a new connection is refused at once. `half_open` when it may be tried, by one at a
   * time.
   */
  readonly breaker: "closed" | "open" | "half_open";
}
