import type { Counter, Histogram, Metrics } from "@plinth/kernel";
import type { PoolStats } from "./postgres/pool.ts";

export interface Meters {
  readonly duration: Histogram<"operation" | "outcome">;
  readonly transaction: Histogram<"outcome">;
  readonly wait: Histogram;
  readonly connect: Histogram<"outcome">;
  readonly closed: Counter<"reason">;
  readonly errors: Counter<"code">;
  watchPool(stats: () => PoolStats, limits: { readonly maxWaiting: number }): void;
}

/** What a database tells of itself in numbers. */
export function declareMeters(metrics: Metrics): Meters {
  const closed = metrics.counter({
    name: "database_connections_closed_total",
    help: "Connections of the pool that were closed, by reason: idle, unclean, lost, shutdown.",
    labels: ["reason"],
  });
  for (const reason of ["idle", "unclean", "lost", "shutdown"]) closed.inc({ reason }, 0);
  return {
    duration: metrics.histogram({
      name: "database_query_duration_seconds",
      help: "How long statements took on their connection.",
      labels: ["operation", "outcome"],
      exemplars: true,
    }),
    transaction: metrics.histogram({
      name: "database_transaction_duration_seconds",
      help: "From the begin of a transaction to its end.",
      labels: ["outcome"],
      exemplars: true,
    }),
    wait: metrics.histogram({
      name: "database_pool_acquire_duration_seconds",
      help: "How long queries waited for a connection, also those that gave up.",
      exemplars: true,
    }),
    connect: metrics.histogram({
      name: "database_connect_duration_seconds",
      help: "How long opening a connection of the pool took, log-in and schema included.",
      labels: ["outcome"],
    }),
    closed,
    errors: metrics.counter({
      name: "database_errors_total",
      help: "Statements that failed, and connections that could not be had for one, by code.",
      labels: ["code"],
    }),
    watchPool(stats, { maxWaiting }) {
      metrics.gauge({
        name: "database_pool_connections",
        help: "Connections of the pool, by state: in_use, idle, opening.",
        labels: ["state"],
        collect: (gauge) => {
          const { inUse, idle, opening } = stats();
          gauge.set({ state: "in_use" }, inUse);
          gauge.set({ state: "idle" }, idle);
          gauge.set({ state: "opening" }, opening);
        },
      });
      metrics
        .gauge({ name: "database_pool_max_connections", help: "Most connections of the pool at once." })
        .set({}, stats().maxConnections);
      metrics.gauge({
        name: "database_pool_waiting",
        help: "Queries that wait for a connection.",
        collect: (gauge) => gauge.set({}, stats().waiting),
      });
      metrics
        .gauge({ name: "database_pool_max_waiting", help: "Queries that may wait for a connection at once." })
        .set({}, maxWaiting);
    },
  };
}
