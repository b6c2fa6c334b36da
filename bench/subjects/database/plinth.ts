// Plinth: metrics, spans of 1 % of the requests, and the log of slow statements.
import * as api from "@opentelemetry/api";
import { TracerProvider } from "@opentelemetry/sdk-trace";
import { createLogger, createMetrics, createTracing, runInContext, type Span, systemClock } from "@plinth/kernel";
import { hold, move, select } from "./by-kysely.ts";
import { measureDatabase } from "./measure.ts";
import { benchServer, openBench } from "./open.ts";

const server = await benchServer();
const provider = new TracerProvider();
const tracing = createTracing({
  sink: {
    api,
    getTracer: (name) => provider.getTracer(name),
    isSampled: (caller) => caller?.sampled ?? false,
    useTraceId: () => {},
  },
});
const log = await createLogger({ level: "info", format: "json", destination: { write: () => {} } });
const db = openBench(server.url, { metrics: createMetrics(), tracing, log });
await db.connect();

/** 100 requests, of which one is sampled. */
const parent = { traceId: "1".repeat(32), spanId: "2".repeat(16) };
const spans: readonly Span[] = Array.from({ length: 100 }, (_, index) =>
  tracing.startSpan("request", { kind: "server", parent: { ...parent, sampled: index === 0 } }),
);
const inRequest = process.env["IN_REQUEST"] === "1";
let turn = 0;

function asRequest<T>(work: () => Promise<T>): Promise<T> {
  const span = spans[turn++ % spans.length];
  if (!inRequest) return runInContext({ span }, work);
  const { signal } = new AbortController();
  return runInContext({ span, signal, deadlineAtMs: systemClock.monotonicMs() + 10_000 }, work);
}

await measureDatabase({
  select: (id) => asRequest(() => select(db.kysely, id)),
  transaction: (id) => asRequest(() => db.transaction((tx) => move(tx.kysely, id))),
  hold: () => hold(db.kysely),
});
await db.close();
await server.stop();
