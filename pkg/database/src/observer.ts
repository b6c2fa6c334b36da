import { AppError, type Clock, type Logger, type Metrics, type Span, type Tracing } from "@plinth/kernel";
import { DatabaseError } from "./errors.ts";
import { declareMeters } from "./meters.ts";
import type { PoolEvents, PoolStats } from "./postgres/pool.ts";
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

/** `failed`: its commit did, so that nobody may know what became of it. */
export type TransactionOutcome = "committed" | "rolled_back" | "failed";

/** Sees each statement: a span, the metrics, and a log line when it was slow. Nothing of it holds a value. */
export interface Observer {
  observe<T>(sql: string, run: (facts: StatementFacts) => Promise<T>): Promise<T>;
  /** A failure that no statement was sent for. */
  failed(error: unknown): void;
  /** Returns what is to be called at its end. */
  beginTransaction(): (outcome: TransactionOutcome) => void;
  readonly pool: PoolEvents;
  /** Shows the pool at each scrape. */
  watch(stats: () => PoolStats, limits: { readonly maxWaiting: number }): void;
}

export function createObserver(options: ObserverOptions): Observer {
  const { clock, slowQueryMs, log, tracing } = options;
  const read = statementReader();
  const meters = options.metrics && declareMeters(options.metrics);
  const fixed = fixedAttributes(options);
  const describe = (span: Span, { operation, summary, text }: StatementFacts): void => {
    span.setAttributes(fixed);
    span.setAttributes({ "db.operation.name": operation, "db.query.summary": summary, "db.query.text": text });
  };
  const failed = (error: unknown): void =>
    meters?.errors.inc({ code: error instanceof DatabaseError ? error.code : "other" });

  return {
    async observe(sql, run) {
      const facts = read(sql);
      const span = tracing?.startSpan(facts.summary, { kind: "client" });
      if (span?.sampled === true) describe(span, facts);
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
        failed(error);
        throw error;
      } finally {
        span?.end();
        const tookMs = clock.monotonicMs() - startedAtMs;
        meters?.duration.observe({ operation: facts.operation, outcome }, tookMs / 1e3, span);
        if (tookMs >= slowQueryMs) {
          log?.warn("slow query", { tookMs: Math.round(tookMs), outcome, query: facts.text, schema: options.schema });
        }
      }
    },
    failed,
    beginTransaction() {
      const startedAtMs = clock.monotonicMs();
      return (outcome) => meters?.transaction.observe({ outcome }, (clock.monotonicMs() - startedAtMs) / 1e3);
    },
    pool: {
      acquired: (waitedMs) => meters?.wait.observe({}, waitedMs / 1e3),
      opened: (tookMs, error) => meters?.connect.observe({ outcome: error ? outcomeOf(error) : "ok" }, tookMs / 1e3),
      closed: (reason) => meters?.closed.inc({ reason }),
    },
    watch: (stats, limits) => meters?.watchPool(stats, limits),
  };
}

type Outcome = "ok" | "error" | "cancelled" | "timeout" | "unavailable";

function outcomeOf(error: unknown): Outcome {
  if (!AppError.is(error)) return "error";
  if (error.code === "ERR_DATABASE_TIMEOUT" || error.status === "deadline_exceeded") return "timeout";
  if (error.status === "cancelled") return "cancelled";
  return error.status === "unavailable" || error.status === "unknown" ? "unavailable" : "error";
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
