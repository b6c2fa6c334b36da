import {
  AppError,
  type Clock,
  currentContext,
  formatTraceparent,
  type Logger,
  type Metrics,
  type Span,
  type Tracing,
} from "@plinth/kernel";
import { DatabaseError } from "./errors.ts";
import { declareMeters } from "./meters.ts";
import type { PoolEvents, PoolStats } from "./postgres/pool.ts";
import { type StatementFacts, statementReader } from "./statement.ts";

export interface ObserverOptions {
  readonly clock: Clock;
  /** Which of the app's databases it is. */
  readonly name: string;
  readonly slowQueryMs: number;
  readonly server: { readonly host: string; readonly port: number; readonly database: string };
  readonly schema: string;
  readonly traceComments: boolean;
  readonly log?: Logger | undefined;
  readonly metrics?: Metrics | undefined;
  readonly tracing?: Tracing | undefined;
}

/** `failed`: its commit did, so that nobody may know what became of it. */
export type TransactionOutcome = "committed" | "rolled_back" | "failed";

/** A statement that runs. */
export interface Observation {
  readonly facts: StatementFacts;
  /** What is sent: the statement's text, and the trace where it is to be told. */
  readonly text: string;
  readonly startedAtMs: number;
  readonly span: Span | undefined;
}

/** Sees each statement: a span, the metrics, and a log line when it was slow. Nothing of it holds a value. */
export interface Observer {
  readonly clock: Clock;
  begin(sql: string): Observation;
  /**
   * Call once for each {@link begin}.
   * @param tookMs - Default: the time since.
   */
  end(observation: Observation, tookMs?: number): void;
  /** The same for one that failed. */
  fail(observation: Observation, error: unknown, tookMs?: number): void;
  /** A failure that no statement was sent for. */
  failed(error: unknown): void;
  /** Returns what is to be called at its end. */
  beginTransaction(): (outcome: TransactionOutcome) => void;
  /** A transaction is run once more. */
  retried(): void;
  readonly pool: PoolEvents;
  /** Shows the pool at each scrape. */
  watch(stats: () => PoolStats, limits: { readonly maxWaiting: number }): void;
}

export function createObserver(options: ObserverOptions): Observer {
  const { clock, name, slowQueryMs, log, tracing, schema, traceComments } = options;
  const fixed = fixedAttributes(options);
  const read = statementReader((facts) => ({ facts, attributes: { ...fixed, ...attributesOf(facts) } }));
  const meters = options.metrics && declareMeters(options.metrics, name);
  /** The labels of what goes well, by operation: most do. */
  const labelsOfOk = new Map<string, Labels>();

  const startSpan = ({ facts, attributes }: ReturnType<typeof read>): Span | undefined => {
    const parent = currentContext()?.span;
    // Below what is not recorded there is nothing to record, and nobody who would ask for ids.
    if (!tracing || parent?.sampled === false) return undefined;
    return tracing.startSpan(facts.summary, { kind: "client", attributes });
  };
  const finish = ({ facts, startedAtMs, span }: Observation, outcome: Outcome, given: number | undefined): void => {
    span?.end();
    const tookMs = given ?? clock.monotonicMs() - startedAtMs;
    if (meters) {
      const { operation } = facts;
      let labels = outcome === "ok" ? labelsOfOk.get(operation) : { database: name, operation, outcome };
      if (labels === undefined) labelsOfOk.set(operation, (labels = { database: name, operation, outcome }));
      meters.duration.observe(labels, tookMs / 1e3, span);
    }
    if (tookMs < slowQueryMs) return;
    // Inside a request its trace is on the line anyhow.
    const trace = span === undefined || currentContext()?.span ? {} : { trace_id: span.traceId, span_id: span.spanId };
    const query = { tookMs: Math.round(tookMs), outcome, query: facts.text, database: name, schema };
    log?.warn("slow query", { ...query, ...trace });
  };
  const failed = (error: unknown): void =>
    meters?.errors.inc({ database: name, code: error instanceof DatabaseError ? error.code : "other" });

  return {
    clock,
    begin(sql) {
      const statement = read(sql);
      const span = startSpan(statement);
      const text = traceComments && span?.sampled === true ? withTrace(sql, span) : sql;
      return { facts: statement.facts, text, startedAtMs: clock.monotonicMs(), span };
    },
    end: (observation, tookMs) => finish(observation, "ok", tookMs),
    fail(observation, error, tookMs) {
      const { span } = observation;
      if (span) {
        span.fail(error);
        if (error instanceof DatabaseError && error.sqlState !== undefined) {
          span.setAttributes({ "db.response.status_code": error.sqlState, "error.type": error.sqlState });
        }
      }
      failed(error);
      finish(observation, outcomeOf(error), tookMs);
    },
    failed,
    beginTransaction() {
      const startedAtMs = clock.monotonicMs();
      return (outcome) =>
        meters?.transaction.observe({ database: name, outcome }, (clock.monotonicMs() - startedAtMs) / 1e3);
    },
    retried: () => meters?.retries.inc({ database: name }),
    pool: {
      acquired: (waitedMs) => meters?.wait.observe({ database: name }, waitedMs / 1e3),
      opened: (tookMs, error) =>
        meters?.connect.observe({ database: name, outcome: error ? outcomeOf(error) : "ok" }, tookMs / 1e3),
      closed: (reason) => meters?.closed.inc({ database: name, reason }),
      held: () => meters?.held.inc({ database: name }),
      refused: () => meters?.refused.inc({ database: name }),
    },
    watch: (stats, limits) => meters?.watchPool(stats, limits),
  };
}

interface Labels {
  readonly database: string;
  readonly operation: string;
  readonly outcome: Outcome;
}

type Outcome = "ok" | "error" | "cancelled" | "timeout" | "unavailable";

function outcomeOf(error: unknown): Outcome {
  if (!AppError.is(error)) return "error";
  if (error.code === "ERR_DATABASE_TIMEOUT" || error.status === "deadline_exceeded") return "timeout";
  if (error.status === "cancelled") return "cancelled";
  return error.status === "unavailable" || error.status === "unknown" ? "unavailable" : "error";
}

type Attributes = Readonly<Record<string, string | number>>;

/** @see https://opentelemetry.io/docs/specs/semconv/db/postgresql/ */
function fixedAttributes({ server, schema }: ObserverOptions): Attributes {
  return {
    "db.system.name": "postgresql",
    "db.namespace": `${server.database}|${schema}`,
    "server.address": server.host,
    ...(server.port === 5432 ? {} : { "server.port": server.port }),
  };
}

function attributesOf({ operation, collection, procedure, summary, text }: StatementFacts): Attributes {
  return {
    "db.operation.name": operation,
    "db.query.summary": summary,
    "db.query.text": text,
    ...(collection === undefined ? {} : { "db.collection.name": collection }),
    ...(procedure === undefined ? {} : { "db.stored_procedure.name": procedure }),
  };
}

/**
 * The text with its trace in a comment; one that has a comment already stays as it is, for that may be a hint.
 * @see https://google.github.io/sqlcommenter/spec/
 */
function withTrace(sql: string, span: Span): string {
  const trace = formatTraceparent(span);
  // Whatever makes the spans: nothing but a trace's numbers gets into a statement.
  const isApart = /^[0-9a-f-]+$/.test(trace) && !sql.includes("/*") && !sql.includes("--");
  return isApart ? `${sql} /*traceparent='${trace}'*/` : sql;
}
