import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createLogger, createMetrics, runInContext, systemClock } from "@plinth/kernel";
import { FakeClock, MemoryLog } from "@plinth/kernel/testing";
import type { EmbeddedPostgres } from "./embedded/index.ts";
import { type Database, DatabaseError, type Queries, sql } from "./index.ts";
import { startTestPostgres, testDatabase } from "./testing/index.ts";
import { assertThrown, until } from "./testing/until.ts";

const fail = (): never => assert.fail("it should have been refused");
const thrownBy = (work: Promise<unknown>): Promise<unknown> => work.then(fail, (error: unknown) => error);

describe("a transaction", { timeout: 60_000 }, () => {
  let server: EmbeddedPostgres;
  let db: Database & AsyncDisposable;
  before(async () => {
    server = await startTestPostgres();
    db = await testDatabase({ url: server.url, maxConnections: 3, metrics });
    await db.query(sql`create table notes (n int primary key)`);
  });
  after(async () => {
    await db[Symbol.asyncDispose]();
    await server.stop();
  });
  const metrics = createMetrics();
  const numbers = async (): Promise<readonly number[]> =>
    (await db.query(sql<{ n: number }>`select n from notes order by n`)).rows.map(({ n }) => n);
  const insert = (queries: Queries, n: number) => queries.query(sql`insert into notes values (${n})`);
  const clear = () => db.query(sql`delete from notes`);
  const conflict = () => new DatabaseError("ERR_DATABASE_CONFLICT", "aborted", "met another");
  const show = async (queries: Queries, name: string) =>
    (await queries.query(sql<{ value: string }>`select current_setting(${name}) as value`)).rows[0]?.value;

  it("is rolled back when its signal aborts, though its callback waits for something else, and its connection is free", async () => {
    await clear();
    const controller = new AbortController();
    const work = thrownBy(
      db.transaction(
        async (tx) => {
          await insert(tx, 1);
          controller.abort();
          await new Promise(() => {});
        },
        { signal: controller.signal },
      ),
    );
    assertThrown(await work, { code: "ERR_DATABASE_CANCELLED", status: "cancelled" });
    assert.equal(db.stats().inUse, 0);
    assert.deepEqual(await numbers(), []);
  });

  it("refuses what its callback does after it was aborted, and lets no failure of that out", async () => {
    const controller = new AbortController();
    const late = Promise.withResolvers<unknown>();
    const work = db.transaction(
      async (tx) => {
        controller.abort();
        await new Promise(setImmediate);
        await until(() => db.stats().inUse === 0);
        late.resolve(await thrownBy(insert(tx, 1)));
        throw new Error("nobody hears of this");
      },
      { signal: controller.signal },
    );
    await assert.rejects(work, { code: "ERR_DATABASE_CANCELLED" });
    assertThrown(await late.promise, { code: "ERR_DATABASE_CLOSED" });
  });

  it("tells the server in one message with its begin how long the request has left, where that is less than the limit", async () => {
    const destination = new MemoryLog();
    const log = await createLogger({ level: "info", format: "json", destination });
    await using told = await testDatabase({ url: server.url, slowQueryMs: 0, log });
    const left = (deadlineAtMs: number | undefined) =>
      runInContext({ deadlineAtMs }, () =>
        told.transaction((tx) => show(tx, "statement_timeout"), { isolation: "repeatable read", readOnly: true }),
      );
    const shorter = Number.parseInt((await left(systemClock.monotonicMs() + 5_000)) ?? "", 10);
    assert.ok(shorter > 0 && shorter <= 5_000, `${shorter}`);
    assert.equal(await left(systemClock.monotonicMs() + 90_000), "30s");
    assert.equal(await left(undefined), "30s");
    assert.equal(await show(told, "statement_timeout"), "30s", "nothing of it is left");
    await log.flush();
    const begins = destination.withMessage("slow query").map(({ query }) => String(query));
    assert.deepEqual(
      begins.filter((text) => text.startsWith("begin")),
      [
        "begin isolation level repeatable read read only; set local statement_timeout = ?",
        "begin isolation level repeatable read read only",
        "begin isolation level repeatable read read only",
      ],
    );
  });

  it("counts against a statement's limit what it takes itself, not what it waits for those before it", async () => {
    const clock = new FakeClock();
    await using paced = await testDatabase({ url: server.url, clock, statementTimeoutMs: 4_000 });
    await paced.transaction(async (tx) => {
      const first = tx.query(sql`select pg_sleep(0.05)`);
      const second = tx.query(sql`select pg_sleep(0.05)`);
      await clock.advance(4_000); // with the second's grace, and less than the first's
      await first;
      await clock.advance(2_000);
      await second;
    });
  });

  it("is undone by the server at the request's deadline, when this side cannot say so", async () => {
    await clear();
    const work = runInContext({ deadlineAtMs: systemClock.monotonicMs() + 200 }, () =>
      db.transaction(async (tx) => {
        await insert(tx, 1);
        await tx.query(sql`select pg_sleep(60)`);
      }),
    );
    await assert.rejects(work, { code: "ERR_DATABASE_TIMEOUT", status: "deadline_exceeded" });
    assert.deepEqual(await numbers(), []);
  });

  it("spares a write the doubt that one outside of any is left in, when the server ends its session instead of answering", async () => {
    const started = thrownBy(db.query(sql`insert into notes select 7 from pg_sleep(60)`));
    const busy = sql<{ pid: number }>`select pid from pg_stat_activity
      where application_name = ${`plinth:${db.schema}`} and wait_event = 'PgSleep'`;
    let pid: number | undefined;
    await until(async () => (pid = (await db.query(busy)).rows[0]?.pid) !== undefined);
    await db.query(sql`select pg_terminate_backend(${pid})`);
    assertThrown(await started, { code: "ERR_DATABASE_OUTCOME_UNKNOWN", sqlState: "57P01", retryable: false });
  });

  describe("with retries", () => {
    it("is run again as a whole, on real conflicts, until it is through", async () => {
      await clear();
      await insert(db, 0);
      const met = Promise.withResolvers<void>();
      let runs = 0;
      const add = (): Promise<unknown> =>
        db.transaction(
          async (tx) => {
            await tx.query(sql`select n from notes`);
            if (++runs === 3) met.resolve();
            await met.promise; // so that the first three see the same
            await tx.query(sql`update notes set n = n + 1`);
          },
          { isolation: "repeatable read", retries: 100 },
        );
      await Promise.all([add(), add(), add()]);
      assert.deepEqual(await numbers(), [3]);
      assert.ok(runs > 3);
      const { body } = await metrics.expose();
      assert.match(body, new RegExp(`database_transaction_retries_total\\{database="main"\\} ${runs - 3}\n`));
    });

    it("is run again when the server answers its commit with a conflict: that it was undone is no doubt", async () => {
      await clear();
      await db.query(sql`create sequence commits`);
      await db.query(sql`create function meet() returns trigger language plpgsql as $$
        begin if nextval('commits') = 1 then raise sqlstate '40001'; end if; return null; end $$`);
      await db.query(sql`create constraint trigger meet after insert on notes
        initially deferred for each row execute function meet()`);
      let runs = 0;
      const add = (n: number, retries: number) =>
        db.transaction(
          (tx) => {
            runs++;
            return insert(tx, n);
          },
          { retries },
        );
      await add(1, 1);
      assert.equal(runs, 2);
      await db.query(sql`alter sequence commits restart`);
      await assert.rejects(add(2, 0), { code: "ERR_DATABASE_CONFLICT", sqlState: "40001" });
      assert.deepEqual(await numbers(), [1]);
      await db.query(sql`drop trigger meet on notes`);
    });

    for (const [what, make] of [
      ["a conflict", conflict],
      ["what has a conflict for its cause", () => new Error("could not move", { cause: conflict() })],
    ] as const) {
      it(`is run as often as allowed after ${what}, and fails with the last one`, async () => {
        let runs = 0;
        const thrown: Error[] = [];
        const work = db.transaction(
          async () => {
            runs++;
            const error = make();
            thrown.push(error);
            throw error;
          },
          { retries: 2 },
        );
        assert.equal(await thrownBy(work), thrown[2]);
        assert.equal(runs, 3);
        assert.equal(db.stats().inUse, 0);
      });
    }

    for (const [what, error] of [
      ["anything else", new Error("no")],
      ["an outcome that is unknown", new DatabaseError("ERR_DATABASE_OUTCOME_UNKNOWN", "unknown", "who knows")],
    ] as const) {
      it(`is not run again after ${what}`, async () => {
        let runs = 0;
        const work = db.transaction(
          async () => {
            runs++;
            throw error;
          },
          { retries: 3 },
        );
        assert.equal(await thrownBy(work), error);
        assert.equal(runs, 1);
      });
    }

    it("is not run again once its request is over, and holds no connection while it waits", async () => {
      const controller = new AbortController();
      let runs = 0;
      const work = db.transaction(
        async () => {
          runs++;
          setImmediate(() => controller.abort());
          throw conflict();
        },
        { retries: 100, signal: controller.signal },
      );
      await assert.rejects(work, { code: "ERR_DATABASE_CANCELLED" });
      assert.ok(runs < 100);
      assert.equal(db.stats().inUse, 0);
    });

    it("refuses a number of them that makes no sense", async () => {
      for (const retries of [-1, 1.5, 101, Number.NaN]) {
        await assert.rejects(
          db.transaction(async () => {}, { retries }),
          { code: "ERR_OPTION_RANGE", message: /^retries/ },
        );
      }
    });
  });

  describe("within another", () => {
    it("takes back its own part alone when it fails, and the outer one goes on", async () => {
      await clear();
      await db.transaction(async (tx) => {
        await insert(tx, 1);
        await assert.rejects(
          tx.transaction(async (inner) => {
            await insert(inner, 2);
            await insert(inner, 1);
          }),
          { code: "ERR_DATABASE_UNIQUE", columns: ["n"] },
        );
        await tx.transaction(async (inner) => {
          await insert(inner, 3);
          await inner.transaction((innermost) => insert(innermost, 4));
        });
      });
      assert.deepEqual(await numbers(), [1, 3, 4]);
    });

    it("is undone with the outer one", async () => {
      await clear();
      const work = db.transaction(async (tx) => {
        await tx.transaction((inner) => insert(inner, 1));
        throw new Error("no");
      });
      await assert.rejects(work, { message: "no" });
      assert.deepEqual(await numbers(), []);
    });

    it("does not pretend to have done its part after a failure that was caught", async () => {
      await clear();
      await db.transaction(async (tx) => {
        const work = tx.transaction(async (inner) => {
          await insert(inner, 1);
          await inner.query(sql`select 1/0`).catch(() => "caught");
        });
        await assert.rejects(work, { code: "ERR_DATABASE_ROLLED_BACK", message: /^the nested transaction/ });
        await insert(tx, 2);
      });
      assert.deepEqual(await numbers(), [2]);
    });

    it("is taken back when its own signal aborts, and the outer one goes on", async () => {
      await clear();
      await db.transaction(async (tx) => {
        const work = tx.transaction(
          async (inner) => {
            await insert(inner, 1);
            await inner.query(sql`select pg_sleep(60)`);
          },
          { signal: AbortSignal.timeout(20) },
        );
        await assert.rejects(work, { code: "ERR_DATABASE_CANCELLED", status: "deadline_exceeded" });
        await insert(tx, 2);
      });
      assert.deepEqual(await numbers(), [2]);
    });

    it("makes the outer one, and a second beside it, refuse while it is open, with what to do", async () => {
      await clear();
      await db.transaction(async (tx) => {
        await tx.transaction(async (inner) => {
          const busy = {
            code: "ERR_DATABASE_BUSY",
            status: "internal",
            message: /use what the nested callback is given/,
          };
          await assert.rejects(insert(tx, 1), busy);
          await assert.rejects(tx.kysely.selectNoFrom(sql`1`.as("one")).execute(), busy);
          await assert.rejects(
            tx.transaction(async () => {}),
            busy,
          );
          await insert(inner, 2);
        });
        await insert(tx, 3);
      });
      assert.deepEqual(await numbers(), [2, 3]);
    });

    for (const [end, work] of [
      ["succeeds", async () => {}],
      ["fails", () => Promise.reject(new Error("too late"))],
    ] as const) {
      it(`does nothing to whoever has the connection by then, when it ${end} after the outer one has failed`, async () => {
        await using one = await testDatabase({ url: server.url, maxConnections: 1 });
        const go = Promise.withResolvers<void>();
        const begun = Promise.withResolvers<void>();
        let nested: Promise<unknown> = Promise.resolve();
        const outer = one.transaction(async (tx) => {
          nested = thrownBy(
            tx.transaction(async () => {
              begun.resolve();
              await go.promise;
              await work();
            }),
          );
          await begun.promise;
          throw new Error("no");
        });
        await assert.rejects(outer, { message: "no" });
        await one.transaction(async (tx) => {
          await tx.query(sql`select 1`);
          go.resolve();
          assertThrown(await nested, end === "fails" ? { message: "too late" } : { code: "ERR_DATABASE_CLOSED" });
          assert.equal((await tx.query(sql`select 1`)).rows.length, 1);
        });
      });
    }

    it("is never committed in part: an outer one that does not wait for it is undone, and says so", async () => {
      await clear();
      const go = Promise.withResolvers<void>();
      const begun = Promise.withResolvers<void>();
      let nested: Promise<unknown> = Promise.resolve();
      const outer = db.transaction(async (tx) => {
        await insert(tx, 1);
        nested = thrownBy(
          tx.transaction(async (inner) => {
            await insert(inner, 2);
            begun.resolve();
            await go.promise;
            await insert(inner, 3);
          }),
        );
        await begun.promise;
      });
      await assert.rejects(outer, { code: "ERR_DATABASE_BUSY", message: /await the nested one inside$/ });
      go.resolve();
      assertThrown(await nested, { code: "ERR_DATABASE_CLOSED" });
      assert.deepEqual(await numbers(), []);
    });

    it("refuses what comes after its end", async () => {
      await db.transaction(async (tx) => {
        const leaked = await tx.transaction(async (inner) => inner);
        await assert.rejects(leaked.query(sql`select 1`), { code: "ERR_DATABASE_CLOSED" });
        await assert.rejects(
          leaked.transaction(async () => {}),
          { code: "ERR_DATABASE_CLOSED" },
        );
      });
    });

    for (const options of [{ isolation: "serializable" }, { readOnly: true }, { retries: 1 }] as const) {
      const [name] = Object.keys(options);
      it(`refuses ${name}, which is for the outermost`, async () => {
        const work = db.transaction((tx) => tx.transaction(async () => {}, options));
        await assert.rejects(work, { code: "ERR_OPTION_RANGE", message: new RegExp(`^${name} is for the outermost`) });
      });
    }
  });

  describe("withConnection", () => {
    it("keeps one session for several statements, and hands nothing of it to the next user", async () => {
      await using one = await testDatabase({ url: server.url, maxConnections: 1 });
      const pid = (queries: Queries) => queries.query(sql<{ pid: number }>`select pg_backend_pid() as pid`);
      const own = await one.withConnection(async (connection) => {
        await connection.query(sql`set work_mem to '7MB'`);
        await connection.query(sql`create temp table t as select 1 as n`);
        await connection.query(sql`select set_config('search_path', 'pg_temp', false), pg_advisory_lock(7)`);
        assert.equal(await show(connection, "work_mem"), "7MB");
        await connection.transaction(async (tx) => {
          await tx.query(sql`insert into t values (2)`);
          await assert.rejects(connection.query(sql`select 1`), { code: "ERR_DATABASE_BUSY" });
        });
        assert.equal((await connection.query(sql`select 1 from t`)).rows.length, 2);
        return pid(connection);
      });
      assert.deepEqual((await pid(one)).rows, own.rows, "the connection is kept");
      const { rows } = await one.query(sql`select current_schema() as schema, to_regclass('t') as t,
        (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks`);
      assert.deepEqual(rows, [{ schema: one.schema, t: null, locks: 0 }]);
      assert.notEqual(await show(one, "work_mem"), "7MB");
    });

    it("gives it back after a failure, and refuses what comes after its end", async () => {
      const reason = new Error("no");
      let leaked: Queries | undefined;
      const work = db.withConnection(async (connection) => {
        leaked = connection;
        await connection.query(sql`begin`);
        throw reason;
      });
      assert.equal(await thrownBy(work), reason);
      assert.equal(db.stats().inUse, 0);
      assert.ok(leaked);
      await assert.rejects(leaked.query(sql`select 1`), { code: "ERR_DATABASE_CLOSED" });
      assert.deepEqual((await db.query(sql`select now() = statement_timestamp() as alone`)).rows, [{ alone: true }]);
    });
  });
});
