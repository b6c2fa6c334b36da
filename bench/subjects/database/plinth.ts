// Plinth: metrics, spans of 1 % of the requests, and the log of slow statements.
import { createLogger, createMetrics, runInContext, systemClock } from "@plinth/kernel";
import { nextSpan, tracing } from "../one-percent.ts";
import { hold, move, select } from "./by-kysely.ts";
import { measureDatabase } from "./measure.ts";
import { benchServer, openBench } from "./open.ts";

const server = await benchServer();
const log = await createLogger({ level: "info", format: "json", destination: { write: () => {} } });
const db = openBench(server.url, { metrics: createMetrics(), tracing, log });
await db.connect();

const inRequest = process.env["IN_REQUEST"] === "1";

function asRequest<T>(work: () => Promise<T>): Promise<T> {
  const span = nextSpan();
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
