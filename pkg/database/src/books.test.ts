import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { after, before, it } from "node:test";
import { runInContext } from "@plinth/kernel";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { DatabaseError, type Queries, sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";
import { until } from "./testing/until.ts";

/** As it is named in https://en.wikipedia.org/wiki/Linear_congruential_generator: the same numbers in each run. */
function numbersFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

let server: EmbeddedPostgres;
before(async () => void (server = await startTestPostgres()));
after(() => server.stop());

it(
  "the books of a pool balance after all that callers and a server do to it at once",
  { timeout: 60_000 },
  async () => {
    const pick = numbersFrom(6);
    await using other = await testDatabase({ url: server.url });
    await using db = await testDatabase({ url: server.url, maxConnections: 4 });
    const sessions = sql`from pg_stat_activity where application_name = ${`plinth:${db.schema}`}`;
    const long = new AbortController();
    const rows = sql<{ n: number }>`select generate_series(1, 300) as n`;
    const wait = () => sql`select pg_sleep(${pick(10) / 1_000})`;

    const read = async (queries: Queries, signal = long.signal): Promise<void> => {
      const last = pick(600);
      for await (const { n } of queries.stream(rows, { batchSize: 50, signal })) if (n > last) break;
    };
    const acts: readonly ((queries: Queries, depth: number) => Promise<unknown>)[] = [
      (queries) => queries.query(wait()),
      (queries) => queries.query(sql`select 1/0`),
      (queries) => read(queries),
      (queries) => queries.stream(rows).next(), // and no further
      (queries) => Promise.all([queries.query(wait()), queries.query(wait())]),
      (queries, depth) => queries.transaction((inner) => work(inner, depth + 1)),
      async (queries, depth) => {
        void queries.transaction((inner) => work(inner, depth + 1)).catch(() => "nobody waits for it");
      },
    ];
    async function work(queries: Queries, depth = 0): Promise<void> {
      for (let left = 1 + pick(3); left > 0; left--) await acts[pick(depth > 2 ? 5 : acts.length)]?.(queries, depth);
    }
    const uses: readonly ((signal: AbortSignal) => Promise<unknown>)[] = [
      (signal) => db.query(wait(), { signal }),
      (signal) => db.transaction((tx) => work(tx), { signal, retries: 1 }),
      (signal) => db.withConnection((connection) => work(connection), { signal }),
      (signal) => read(db, signal),
      () => other.query(sql`select pg_terminate_backend(pid) ${sessions} order by random() limit 1`),
    ];
    const use = async (): Promise<void> => {
      const signal = pick(2) ? AbortSignal.any([long.signal, AbortSignal.timeout(1 + pick(20))]) : long.signal;
      const served = pick(2) ? { signal: long.signal } : {};
      try {
        await runInContext(served, async () => uses[pick(uses.length)]?.(signal));
      } catch (error) {
        assert.ok(error instanceof DatabaseError, String(error));
        // All read, but what a transaction did is not known to its commit, whose session may be ended while it runs.
        if (error.code === "ERR_DATABASE_OUTCOME_UNKNOWN") assert.match(error.message, /while COMMIT ran/i);
      }
    };
    const user = async (): Promise<void> => {
      for (let left = 15; left > 0; left--) await use();
    };
    await Promise.all(Array.from({ length: 10 }, user));

    await until(() => db.stats().inUse + db.stats().opening === 0);
    assert.equal(db.stats().waiting, 0);
    assert.equal(getEventListeners(long.signal, "abort").length, 0);
    await until(async () => {
      const { rows: open } = await other.query(sql`select 1 ${sessions} and state <> 'idle'`);
      return open.length === 0;
    });
    await db.close();
    await until(async () => (await other.query(sql`select 1 ${sessions}`)).rows.length === 0);
  },
);
