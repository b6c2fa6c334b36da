// The context of a request holds across the database, also where requests wait for each other's connection.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createTracing, currentContext, runInContext } from "@plinth/kernel";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { type Database, sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";

let server: EmbeddedPostgres;
before(async () => {
  server = await startTestPostgres();
});
after(() => server?.stop());

const seen = (): string | undefined => currentContext()?.span?.spanId;

/** Each asks the database for something and tells what it saw on the way. */
const ways: Readonly<Record<string, (db: Database) => Promise<readonly unknown[]>>> = {
  "a query": async (db) => {
    await db.query(sql`select pg_sleep(0.002)`);
    return [seen()];
  },
  "the callbacks of a query's promise": (db) => db.query(sql`select 1`).then(() => [seen()]),
  "a query that fails": async (db) => {
    await assert.rejects(db.query(sql`select nothing from nowhere`));
    return [seen()];
  },
  "a transaction": (db) =>
    db.transaction(async (tx) => {
      const begun = seen();
      await tx.query(sql`select 1`);
      return [begun, seen()];
    }),
  "a query that is given up": async (db) => {
    const signal = AbortSignal.timeout(5);
    await assert.rejects(db.query(sql`select pg_sleep(5)`, { signal }));
    return [seen()];
  },
};

describe("the context of a request", () => {
  const tracing = createTracing();
  for (const [what, way] of Object.entries(ways)) {
    it(`holds across ${what}, for each of ten requests that share one connection`, async () => {
      await using db = await testDatabase({ url: server.url, maxConnections: 1 });
      const run = (): Promise<readonly unknown[]> =>
        runInContext({ requestId: "r" }, () =>
          tracing.withSpan("work", {}, async ({ spanId }) =>
            [...(await way(db)), seen()].map((span) => span === spanId),
          ),
        );
      const requests = await Promise.all(Array.from({ length: 10 }, run));
      for (const held of requests) assert.ok(held.every(Boolean), JSON.stringify(requests));
      assert.equal(seen(), undefined);
    });
  }
});
