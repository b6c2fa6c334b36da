import { AppError, type Clock, type Logger, type Metrics, type Tracing } from "@plinth/kernel";
import { DatabaseError } from "./errors.ts";
import type { PoolStats } from "./postgres/pool.ts";
import { type StatementFacts, statementReader } from "./statement.ts";

export interface ObserverOptions {
  readonly clock: Clock;
  readonly slowQueryMs: number;
  readonly server: { readonly host: string; readonly port: number; readonly database: string };
  readonly schema: string;
  readonly log?: Logger | undefined;
  readonly metrics?: Metrics | undefined;
  readonly tracing?: Tracing | undefined;
}

/** Sees each statement: a span, the metrics, and a log line when it was slow. Nothing of it holds a value. */
export interface Observer {
  observe<T>(sql: string, run: (facts: StatementFacts) => Promise<T>): Promise<T>;
  acquired(waitedMs: number): void;
  /** Shows the pool at each scrape. */
  watch(stats: () => PoolStats): void;
}

export function createObserver(options: ObserverOptions): Observer {
  const { clock, slowQueryMs, log, tracing } = options;
  const read = statementReader();
  const meters = options.metrics && declareMetrics(options.metrics);
  const fixed = fixedAttributes(options);

  return {
    async observe(sql, run) {
      const facts = read(sql);
      const span = tracing?.startSpan(facts.summary, {
        kind: "client",
        attributes: {
          ...fixed,
          "db.operation.name": facts.operation,
          "db.query.summary": facts.summary,
          "db.query.text": facts.text,
        },
      });
      const startedAtMs = clock.monotonicMs();
      let outcome = "ok";
      try {
        return await run(facts);
      } catch (error) {
        outcome = outcomeOf(error);
        if (error instanceof DatabaseError && error.sqlState !== undefined) {
          span?.setAttribute("db.response.status_code", error.sqlState);
        }
        span?.fail(error);
        throw error;
      } finally {
        span?.end();
        const tookMs = clock.monotonicMs() - startedAtMs;
        meters?.duration.observe({ operation: facts.operation, outcome }, tookMs / 1e3);
        if (tookMs >= slowQueryMs) {
          log?.warn("slow query", { tookMs: Math.round(tookMs), outcome, query: facts.text, schema: options.schema });
        }
      }
    },
    acquired: (waitedMs) => meters?.wait.observe({}, waitedMs / 1e3),
    watch(stats) {
      options.metrics?.gauge({
        name: "database_pool_connections",
        help: "Connections of the pool, by state: in_use, idle, opening; max is the limit.",
        labels: ["state"],
        collect: (gauge) => {
          const { inUse, idle, opening, maxConnections } = stats();
          gauge.set({ state: "in_use" }, inUse);
          gauge.set({ state: "idle" }, idle);
          gauge.set({ state: "opening" }, opening);
          gauge.set({ state: "max" }, maxConnections);
        },
      });
      options.metrics?.gauge({
        name: "database_pool_waiting",
        help: "Queries that wait for a connection.",
        collect: (gauge) => gauge.set({}, stats().waiting),
      });
    },
  };
}

type Outcome = "ok" | "error" | "cancelled" | "timeout" | "unavailable";

function outcomeOf(error: unknown): Outcome {
  if (!AppError.is(error)) return "error";
  if (error.code === "ERR_DATABASE_TIMEOUT" || error.status === "deadline_exceeded") return "timeout";
  if (error.status === "cancelled") return "cancelled";
  return error.status === "unavailable" || error.status === "unknown" ? "unavailable" : "error";
}

function declareMetrics(metrics: Metrics) {
  return {
    duration: metrics.histogram({
      name: "database_query_duration_seconds",
      help: "How long statements took on their connection.",
      labels: ["operation", "outcome"],
    }),
    wait: metrics.histogram({
      name: "database_pool_acquire_duration_seconds",
      help: "How long queries waited for a connection, also those that gave up.",
    }),
  };
}

/** @see https://opentelemetry.io/docs/specs/semconv/database/postgresql/ */
function fixedAttributes({ server, schema }: ObserverOptions): Readonly<Record<string, string | number>> {
  return {
    "db.system.name": "postgresql",
    "db.namespace": `${server.database}|${schema}`,
    "server.address": server.host,
    ...(server.port === 5432 ? {} : { "server.port": server.port }),
  };
}
