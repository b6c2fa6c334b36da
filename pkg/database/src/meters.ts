import type { Counter, Histogram, Metrics } from "@plinth/kernel";
import type { PoolStats } from "./postgres/pool.ts";

/** Every series says which of the app's databases it is of. */
export interface Meters {
  readonly duration: Histogram<"database" | "operation" | "outcome">;
  readonly transaction: Histogram<"database" | "outcome">;
  readonly retries: Counter<"database">;
  readonly wait: Histogram<"database">;
  readonly connect: Histogram<"database" | "outcome">;
  readonly closed: Counter<"database" | "reason">;
  readonly held: Counter<"database">;
  readonly refused: Counter<"database">;
  readonly errors: Counter<"database" | "code">;
  watchPool(stats: () => PoolStats, limits: { readonly maxWaiting: number }): void;
}

interface Watched {
  readonly stats: () => PoolStats;
  readonly maxWaiting: number;
}

/** What all databases of one app share: a metric is declared once. */
interface Declared extends Omit<Meters, "watchPool"> {
  /** By the database's name. */
  readonly pools: Map<string, Watched>;
}

const declaredOn = new WeakMap<Metrics, Declared>();

/** What a database tells of itself in numbers. */
export function declareMeters(metrics: Metrics, database: string): Meters {
  let declared = declaredOn.get(metrics);
  if (!declared) declaredOn.set(metrics, (declared = declare(metrics)));
  const { pools, ...meters } = declared;
  for (const reason of ["idle", "lifetime", "unclean", "lost", "failover", "shutdown"])
    meters.closed.inc({ database, reason }, 0);
  return {
    ...meters,
    watchPool: (stats, { maxWaiting }) => void pools.set(database, { stats, maxWaiting }),
  };
}

function declare(metrics: Metrics): Declared {
  return {
    duration: metrics.histogram({
      name: "database_query_duration_seconds",
      help: "How long statements took on their connection; of those that are streamed, without the time between their parts.",
      labels: ["database", "operation", "outcome"],
      exemplars: true,
    }),
    transaction: metrics.histogram({
      name: "database_transaction_duration_seconds",
      help: "From the begin of a transaction to its end.",
      labels: ["database", "outcome"],
      exemplars: true,
    }),
    retries: metrics.counter({
      name: "database_transaction_retries_total",
      help: "Times that a transaction was run once more since it had met another one.",
      labels: ["database"],
    }),
    wait: metrics.histogram({
      name: "database_pool_acquire_duration_seconds",
      help: "How long queries waited for a connection, also those that gave up.",
      labels: ["database"],
      exemplars: true,
    }),
    connect: metrics.histogram({
      name: "database_connect_duration_seconds",
      help: "How long opening a connection of the pool took, log-in and schema included.",
      labels: ["database", "outcome"],
    }),
    closed: metrics.counter({
      name: "database_connections_closed_total",
      help: "Connections of the pool that were closed, by reason: idle, lifetime, unclean, lost, failover, shutdown.",
      labels: ["database", "reason"],
    }),
    held: metrics.counter({
      name: "database_connections_held_too_long_total",
      help: "Connections that one user held for longer than maxHeldMs.",
      labels: ["database"],
    }),
    refused: metrics.counter({
      name: "database_pool_refused_total",
      help: "Queries that were refused at once because the server is away.",
      labels: ["database"],
    }),
    errors: metrics.counter({
      name: "database_errors_total",
      help: "Statements that failed, and connections that could not be had for one, by code.",
      labels: ["database", "code"],
    }),
    pools: declarePools(metrics),
  };
}

function declarePools(metrics: Metrics): Map<string, Watched> {
  const pools = new Map<string, Watched>();
  metrics.gauge({
    name: "database_pool_connections",
    help: "Connections of the pool, by state: in_use, idle, opening.",
    labels: ["database", "state"],
    collect: (gauge) => {
      for (const [database, { stats }] of pools) {
        const { inUse, idle, opening } = stats();
        gauge.set({ database, state: "in_use" }, inUse);
        gauge.set({ database, state: "idle" }, idle);
        gauge.set({ database, state: "opening" }, opening);
      }
    },
  });
  metrics.gauge({
    name: "database_pool_max_connections",
    help: "Most connections of the pool at once.",
    labels: ["database"],
    collect: (gauge) => {
      for (const [database, { stats }] of pools) gauge.set({ database }, stats().maxConnections);
    },
  });
  metrics.gauge({
    name: "database_pool_longest_held_seconds",
    help: "For how long the connection that was taken first is in use; 0 when none is.",
    labels: ["database"],
    collect: (gauge) => {
      for (const [database, { stats }] of pools) gauge.set({ database }, stats().longestHeldMs / 1e3);
    },
  });
  metrics.gauge({
    name: "database_pool_breaker_open",
    help: "1 while the server cannot be had and queries that need a new connection are refused, else 0.",
    labels: ["database"],
    collect: (gauge) => {
      for (const [database, { stats }] of pools) gauge.set({ database }, stats().breaker === "closed" ? 0 : 1);
    },
  });
  metrics.gauge({
    name: "database_pool_waiting",
    help: "Queries that wait for a connection.",
    labels: ["database"],
    collect: (gauge) => {
      for (const [database, { stats }] of pools) gauge.set({ database }, stats().waiting);
    },
  });
  metrics.gauge({
    name: "database_pool_max_waiting",
    help: "Queries that may wait for a connection at once.",
    labels: ["database"],
    collect: (gauge) => {
      for (const [database, { maxWaiting }] of pools) gauge.set({ database }, maxWaiting);
    },
  });
  return pools;
}
