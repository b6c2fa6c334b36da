// What is told of statements: where a failed one was made, its trace at the server and in the log.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createLogger, createTracing, runInContext } from "@plinth/kernel";
import { MemoryLog } from "@plinth/kernel/testing";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { type Database, DatabaseError, type Queries, sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";

const fail = (): never => assert.fail("it should have been refused");
const thisFile = import.meta.filename;

interface Tables {
  nowhere: { id: number };
}

/** Far below a handler, as code of a service is. */
class Store {
  readonly #db: Queries<Tables>;
  constructor(db: Queries<Tables>) {
    this.#db = db;
  }
  async byTemplate(): Promise<void> {
    await this.#db.query(sql`select 1/0`);
  }
  async byKysely(): Promise<void> {
    await this.#db.kysely.selectFrom("nowhere").selectAll().executeTakeFirst();
  }
  async byStream(): Promise<void> {
    for await (const row of this.#db.stream(sql`select 1/0`)) assert.ok(row);
  }
  async byLostSignal(): Promise<void> {
    await this.#db.query(sql`select pg_sleep(60)`, { signal: AbortSignal.timeout(10) });
  }
}

describe("a failed statement", { timeout: 30_000 }, () => {
  let server: EmbeddedPostgres;
  let db: Database<Tables> & AsyncDisposable;
  before(async () => {
    server = await startTestPostgres();
    db = await testDatabase<Tables>({ url: server.url });
  });
  after(async () => {
    await db[Symbol.asyncDispose]();
    await server.stop();
  });

  const handle = async (queries: Queries<Tables>, method: keyof Store): Promise<void> => {
    const store = new Store(queries);
    await store[method]();
  };
  const places: readonly [string, (method: keyof Store) => Promise<unknown>][] = [
    ["of the database", (method) => handle(db, method)],
    ["of a transaction", (method) => db.transaction((tx) => handle(tx, method))],
    [
      "of one that is queued",
      (method) =>
        db.transaction(async (tx) => {
          await Promise.all([tx.query(sql`select pg_sleep(0.01)`), handle(tx, method)]);
        }),
    ],
    ["of a nested one", (method) => db.transaction((tx) => tx.transaction((inner) => handle(inner, method)))],
    ["of a connection", (method) => db.withConnection((connection) => handle(connection, method))],
  ];
  for (const [where, run] of places) {
    for (const method of ["byTemplate", "byKysely", "byStream", "byLostSignal"] as const) {
      if (method === "byStream" && where.includes("queued")) continue; // it takes the connection for itself
      it(`${where}, made ${method}, has the line that made it in its stack, and the one that called that`, async () => {
        const error = await run(method).then(fail, (thrown: unknown) => thrown);
        assert.ok(error instanceof DatabaseError, String(error));
        const frames = error.stack?.split("\n").filter((line) => line.includes(`${thisFile}:`)) ?? [];
        assert.match(frames[0] ?? error.stack ?? "", new RegExp(`Store\\.${method} .*:\\d+:\\d+\\)$`));
        assert.match(frames[1] ?? error.stack ?? "", /handle /);
      });
    }
  }

  it("leaves the limit of stacks as it was", async () => {
    const { stackTraceLimit } = Error;
    await assert.rejects(db.query(sql`select 1/0`));
    assert.equal(Error.stackTraceLimit, stackTraceLimit);
  });

  it("does not compile from a string, and is refused where it was not compiled", async () => {
    const refusal = { code: "ERR_OPTION_TYPE", message: /^statement must be made with sql/ };
    // @ts-expect-error -- text is no statement
    await assert.rejects(db.query("select 1"), refusal);
    // @ts-expect-error -- nor one of rows
    assert.throws(() => db.stream("select 1"), refusal);
    // @ts-expect-error -- nor is what looks like one
    assert.throws(() => db.stream({ sql: "select 1", parameters: [] }), refusal);
  });

  it("does not compile with tables, columns and values that there are not, nor in a transaction or after it", async () => {
    interface Tables {
      notes: { id: number; text: string };
    }
    const typed = db.withTables<Tables>();
    // @ts-expect-error -- there is no such table
    typed.kysely.selectFrom("note");
    // @ts-expect-error -- nor column
    typed.kysely.selectFrom("notes").select("title");
    // @ts-expect-error -- nor is the id a text
    typed.kysely.insertInto("notes").values({ id: "1", text: "x" });
    // @ts-expect-error -- no tables were told of
    db.kysely.selectFrom("notes");
    await typed.transaction(async (tx) => {
      // @ts-expect-error -- it has the same tables
      tx.kysely.deleteFrom("note");
      // @ts-expect-error -- what belongs to the database alone
      assert.equal(tx.close, undefined);
    });
    // @ts-expect-error -- a transaction is its callback's alone
    assert.throws(() => tx.query(sql`select 1`), ReferenceError);
  });
});

describe("the trace of a statement", { timeout: 30_000 }, () => {
  let server: EmbeddedPostgres;
  before(async () => void (server = await startTestPostgres()));
  after(() => server.stop());
  const span = { traceId: "1".repeat(32), spanId: "2".repeat(16), sampled: true };

  it("stands behind its text when that is asked for and it is sampled, and not behind one that has a comment", async () => {
    await using db = await testDatabase({ url: server.url, tracing: createTracing(), traceComments: true });
    const seen = async (statement = sql<{ text: string }>`select current_query() as text, ${"x"}::text as x`) =>
      (await db.query(statement)).rows[0]?.text ?? "";
    const sampled = await runInContext({ span }, () => seen());
    assert.match(sampled, new RegExp(` /\\*traceparent='00-${span.traceId}-[0-9a-f]{16}-01'\\*/$`));
    const streamed = await runInContext({ span }, async () => {
      for await (const { text } of db.stream(sql<{ text: string }>`select current_query() as text`)) return text;
      return "";
    });
    assert.match(streamed, /traceparent=/);
    assert.doesNotMatch(await runInContext({ span: { ...span, sampled: false } }, () => seen()), /traceparent/);
    assert.doesNotMatch(await seen(), /traceparent/);
    const hinted = await runInContext({ span }, () => seen(sql`select /*+ hint */ current_query() as text`));
    assert.doesNotMatch(hinted, /traceparent/);
  });

  it("stands nowhere unless it is asked for", async () => {
    await using db = await testDatabase({ url: server.url, tracing: createTracing() });
    const { rows } = await runInContext({ span }, () =>
      db.query(sql<{ text: string }>`select current_query() as text`),
    );
    assert.equal(rows[0]?.text, "select current_query() as text");
  });

  it("stands in the log of a slow one, within a request and outside of any", async () => {
    const destination = new MemoryLog();
    const log = await createLogger({ level: "info", format: "json", destination });
    await using db = await testDatabase({
      url: server.url,
      tracing: createTracing(),
      log,
      slowQueryMs: 0,
      name: "reports",
    });
    await runInContext({ span }, () => db.query(sql`select 'inside'`));
    await db.query(sql`select 'outside', 1`);
    await log.flush();
    const lines = destination.withMessage("slow query");
    const inside = lines.find(({ query }) => query === "select ?");
    const outside = lines.find(({ query }) => query === "select ?, ?");
    assert.equal(inside?.trace_id, span.traceId);
    assert.equal(inside?.database, "reports");
    assert.match(String(outside?.trace_id), /^[0-9a-f]{32}$/);
  });
});
