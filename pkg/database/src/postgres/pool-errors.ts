import { DatabaseError } from "../errors.ts";
import type { PoolStats } from "./pool-options.ts";

/** Who has waited in vain is told who has the connections, and what to change. */
export function acquireTimeout(stats: PoolStats, waitedMs: number): DatabaseError {
  const { inUse, opening, waiting, maxConnections, longestHeldMs, longestHeldBy } = stats;
  const longest = longestHeldBy === undefined ? "" : `, the longest for ${longestHeldMs} ms by ${longestHeldBy}`;
  const advice =
    inUse < maxConnections
      ? "the server is slow to open connections"
      : "raise maxConnections, or look for one that is held for too long";
  return new DatabaseError(
    "ERR_DATABASE_ACQUIRE_TIMEOUT",
    "unavailable",
    `no connection free after ${waitedMs} ms: ${inUse} of ${maxConnections} in use${longest}, ${opening} being opened, ${waiting - 1} more waiting; ${advice}`,
  );
}

export function overloaded({ inUse, waiting, maxConnections }: PoolStats): DatabaseError {
  return new DatabaseError(
    "ERR_DATABASE_OVERLOADED",
    "unavailable",
    `${waiting} queries wait for a connection already, as many as maxWaiting allows; ${inUse} of ${maxConnections} connections are in use`,
  );
}

export function closedError(): DatabaseError {
  return new DatabaseError("ERR_DATABASE_CLOSED", "unavailable", "the database client is closed or closing");
}

export function unexpected(cause: unknown): DatabaseError {
  return new DatabaseError("ERR_DATABASE_UNAVAILABLE", "unavailable", "the database cannot be reached", { cause });
}
