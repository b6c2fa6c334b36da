// One suite against the PostgreSQL of the distribution, the embedded one, and PgBouncer as it hands out sessions and transactions.
import { after, before } from "node:test";
import type { EmbeddedPostgres } from "@plinth/database/embedded";
import { databaseSuite, startTestPostgres, testDatabase } from "@plinth/database/testing";
import { type PgBouncer, startPgBouncer } from "../support/pgbouncer.ts";
import { startPostgres15 } from "../support/postgres.ts";

let postgres15: EmbeddedPostgres;
let embedded: EmbeddedPostgres;
let pgBouncer: PgBouncer;

before(async () => {
  [postgres15, embedded] = await Promise.all([startPostgres15(), startTestPostgres()]);
  pgBouncer = await startPgBouncer({
    server: postgres15.url,
    databases: { sessions: "pool_mode=session pool_size=20", transactions: "pool_mode=transaction pool_size=8" },
  });
});

after(async () => {
  await pgBouncer?.stop();
  await Promise.all([postgres15?.stop(), embedded?.stop()]);
});

databaseSuite({ name: "PostgreSQL 15", open: (options) => testDatabase({ url: postgres15.url, ...options }) });
databaseSuite({ name: "the embedded PostgreSQL", open: (options) => testDatabase({ url: embedded.url, ...options }) });
databaseSuite({
  name: "PgBouncer with sessions",
  pooler: "session",
  open: (options) => testDatabase({ url: pgBouncer.url("sessions"), pooler: "session", ...options }),
});
databaseSuite({
  name: "PgBouncer with transactions",
  pooler: "transaction",
  open: (options) => testDatabase({ url: pgBouncer.url("transactions"), pooler: "transaction", ...options }),
});
