// The database dies, hangs, is cut off and is full, under a service that is written to all the time: it stays alive, tells the truth, heals by
// itself, and its books balance: every acknowledged write is there, none twice, and nothing that was refused.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, open, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { promisify } from "node:util";
import { type Database, openDatabase, sql } from "@plinth/database";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@plinth/database/embedded";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { type Books, keepBooks } from "../support/books.ts";
import { type FaultProxy, startFaultProxy } from "../support/fault-proxy.ts";
import { ask, seriesOf } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { startLoad } from "../support/load.ts";
import { type PgBouncer, startPgBouncer } from "../support/pgbouncer.ts";
import { logOf } from "../support/platform.ts";
import { treeOf } from "../support/processes.ts";
import { afterUs } from "../support/program.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const checkIntervalMs = 300;
const checkTimeoutMs = 500;
/** Two runs of the check, each as late as can be; ten times that on a machine with other things to do. */
const flipLimitMs = 10 * 2 * (checkIntervalMs + checkTimeoutMs);
const healLimitMs = 30_000;
const maxConnections = 4;
const dayMs = 86_400_000;

let folder: string;
let server: EmbeddedPostgres;
let proxy: FaultProxy;

const portOf = ({ url }: EmbeddedPostgres): number => Number(new URL(url).port);
/** The server by way of the proxy, whatever port it has by now. */
const proxied = (): string => server.url.replace(/:\d+\//, `:${proxy.port}/`);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "plinth-faults-"));
  await chmod(folder, 0o755); // the server's account may enter it, so that all of it is removed in the end
  await startServer();
  proxy = await startFaultProxy(() => portOf(server));
  // What was acknowledged is in the system's hands, so that it outlives the server, if not the machine.
  await asAdmin((admin) => admin.query(sql`alter role postgres set synchronous_commit = on`));
});
after(async () => {
  await proxy[Symbol.asyncDispose]();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

async function startServer(): Promise<void> {
  server = await startEmbeddedPostgres({ dataDir: folder, fsync: false });
  assert.ok(server.started, "it had gone");
}

/** Past the proxy. */
async function asAdmin<T>(work: (admin: Database) => Promise<T>, schema = "querying"): Promise<T> {
  const admin = openDatabase({ url: server.url, schema, maxConnections: 1, statementTimeoutMs: 0 });
  try {
    await admin.connect();
    return await work(admin);
  } finally {
    await admin.close();
  }
}

const limits = {
  PLINTH_DATABASE_MAX_CONNECTIONS: String(maxConnections),
  PLINTH_DATABASE_CONNECT_TIMEOUT_MS: "500",
  PLINTH_DATABASE_STATEMENT_TIMEOUT_MS: "500",
  PLINTH_DATABASE_ACQUIRE_TIMEOUT_MS: "500",
  PLINTH_DATABASE_CHECK_INTERVAL_MS: String(checkIntervalMs),
  PLINTH_DATABASE_CHECK_TIMEOUT_MS: String(checkTimeoutMs),
  PLINTH_HTTP_DEADLINE_MS: "3000",
};

const start = (url: string, more: Readonly<Record<string, string>> = {}): Promise<Service> =>
  startService("database-service", { environment: { PLINTH_DATABASE_URL: url, ...limits, ...more } });

/** The processes of the server, the first of them its postmaster. */
function serverProcesses(): readonly number[] {
  const postmaster = treeOf(1)
    .concat(treeOf(process.pid))
    .find(({ command }) => command.includes(`postgres -D ${folder}`));
  assert.ok(postmaster, "the server runs");
  const others = treeOf(postmaster.pid).filter(({ pid }) => pid !== postmaster.pid);
  return [postmaster.pid, ...others.map(({ pid }) => pid)];
}

async function killServer(): Promise<void> {
  const [postmaster = 0] = serverProcesses();
  process.kill(postmaster, "SIGKILL");
  await server.stop(); // nobody uses the one that was
}

function signalServer(signal: NodeJS.Signals): void {
  for (const pid of serverProcesses()) process.kill(pid, signal);
}

/** Asks for liveness all the time, so that a single answer that is none is seen. */
function watchLiveness({ url }: Service): () => Promise<void> {
  const load = startLoad({ url: `${url}/healthz`, connections: 1, perSecond: 20 });
  return async () => {
    const { statuses, broken, refused } = await load.stop();
    assert.deepEqual([Object.keys(statuses), broken, refused], [["200"], [], 0], "it was alive all the time");
    assert.ok(load.durations().slowestMs < 5_000, `liveness took ${load.durations().slowestMs} ms`);
  };
}

interface Readiness {
  readonly status: number;
  readonly database: unknown;
}

async function readiness({ url }: Service): Promise<Readiness> {
  const { status, json } = await ask(`${url}/ready`);
  const { checks } = asRecord(json());
  assert.ok(Array.isArray(checks));
  const database = checks.map(asRecord).find(({ name }) => name === "database");
  return { status, database: database?.["status"] };
}

/** Until the probe says so; returns after how many milliseconds. */
async function untilReady(service: Service, isReady: boolean): Promise<number> {
  const startedAtMs = performance.now();
  const expected: Readiness = isReady ? { status: 200, database: "pass" } : { status: 503, database: "fail" };
  let seen: Readiness | undefined;
  await until(
    async () => {
      seen = await readiness(service);
      return seen.status === expected.status && seen.database === expected.database;
    },
    () => `the probe says ${JSON.stringify(expected)}, not ${JSON.stringify(seen)}`,
    isReady ? healLimitMs : flipLimitMs,
  );
  return performance.now() - startedAtMs;
}

/** Until it is ready, answers, and acknowledges writes of every writer again; then its books must balance. */
async function untilHealed(service: Service, books: Books, schema?: string): Promise<void> {
  await untilReady(service, true);
  await until(
    async () => (await ask(`${service.url}/query`)).status === 200,
    "queries are answered again",
    healLimitMs,
  );
  await books.untilAcknowledged(20);
  await asAdmin((admin) => books.balance(admin), schema);
}

/** Has the service hold so many connections; none with 0. */
async function hold({ url }: Service, count: number): Promise<void> {
  await until(
    async () => (await ask(`${url}/holding`, { body: { count } })).status === 200,
    `${count} connections are held`,
    healLimitMs,
  );
}

async function untilRefused(books: Books, answer: string, more: number): Promise<void> {
  const count = (): number => books.answers()[answer] ?? 0;
  const wanted = count() + more;
  await until(
    () => count() >= wanted,
    () => `${more} more ${answer}: ${JSON.stringify(books.answers())}`,
    healLimitMs,
  );
}

/** What was behind each answer 500: nothing but outcomes that are not known. */
async function assertOnlyUnknown({ program }: Service, books: Books): Promise<void> {
  const told = books.answers()["500 ERR_INTERNAL"] ?? 0;
  const codes = (): unknown[] =>
    logOf(program.stdout())
      .filter(({ message, status }) => message === "request" && status === 500)
      .map(({ code }) => code);
  await until(() => codes().length >= told, "the lines of these requests", healLimitMs);
  assert.deepEqual(
    codes(),
    Array.from({ length: told }, () => "ERR_DATABASE_OUTCOME_UNKNOWN"),
  );
}

const lostIdle = ({ program }: Service): Record<string, unknown>[] =>
  logOf(program.stdout()).filter(({ message }) => message === "an idle connection was lost");

async function assertStops({ program }: Service): Promise<void> {
  program.signal("SIGTERM");
  assert.deepEqual(await program.exit, { code: 0, signal: null }, program.stderr());
  assert.equal(program.stderr(), "", "nothing was uncaught");
}

/** While the database is away, from now on: how often it is tried, however many ask. */
async function assertNoStorm(t: TestContext, service: Service, books: Books): Promise<void> {
  const startedAtMs = performance.now();
  const before = proxy.opened();
  const refusedBefore = await service.metric("database_pool_refused_total");
  books.slowestMs();
  await books.untilAnswered(150);
  const tookMs = performance.now() - startedAtMs;
  const made = proxy.opened() - before;
  const refused = (await service.metric("database_pool_refused_total")) - refusedBefore;
  t.diagnostic(`${made} connections in ${tookMs.toFixed(0)} ms; ${refused} of 150 writes were refused at once`);
  // Of the pool, of the check, and to cancel what ran.
  assert.ok(made <= 2 * (6 + tookMs / 1_000) + maxConnections, `${made} connections in ${tookMs} ms`);
  assert.ok(refused >= 75, `${refused} of 150 were refused at once`);
  assert.ok(books.slowestMs() < 10 * 1_000, "nobody is held up for long");
}

/** Commits reach the server, are done, and nobody hears of it: until some of each kind of transaction have met that. */
async function loseCommits(books: Books): Promise<void> {
  const open = (): number => Math.min(books.leftOpen("paired"), books.leftOpen("contended"));
  const wanted = open() + 2;
  await asAdmin(async (admin) => {
    const isCommitting = async (): Promise<boolean> =>
      (await admin.query(sql`select from pg_stat_activity where state = 'active' and query = 'commit'`)).rows.length >
      0;
    const startedAtMs = performance.now();
    while (open() < wanted) {
      assert.ok(performance.now() - startedAtMs < healLimitMs, JSON.stringify(books.answers()));
      await books.untilAcknowledged(3);
      proxy.freeze("answers");
      try {
        await until(async () => !(await isCommitting()), "what was being committed is done", healLimitMs);
      } finally {
        proxy.thaw();
      }
    }
  });
}

describe("a service whose database", { timeout: 400_000 }, () => {
  let service: Service;
  let books: Books;
  let endLiveness: () => Promise<void>;
  before(async () => {
    service = await start(proxied());
    endLiveness = watchLiveness(service);
    books = keepBooks(`${service.url}/entries`);
    await books.untilAcknowledged(50);
  });
  after(async () => {
    await books.stop();
    await service[Symbol.asyncDispose]();
  });

  it("is killed says that it is not ready, fails fast with a code, and heals when it is back", async (t) => {
    await killServer();
    const flippedMs = await untilReady(service, false);
    t.diagnostic(`not ready after ${flippedMs.toFixed(0)} ms`);
    await assertNoStorm(t, service, books);
    assert.ok((await ask(`${service.url}/query`)).text.includes("ERR_DATABASE_UNAVAILABLE"));
    await startServer();
    await untilHealed(service, books);
  });

  it("hangs says that it is not ready, holds nobody up for long, and heals when it goes on", async (t) => {
    signalServer("SIGSTOP");
    try {
      await untilReady(service, false);
      await assertNoStorm(t, service, books);
      assert.equal((await readiness(service)).status, 503);
    } finally {
      signalServer("SIGCONT");
    }
    await untilHealed(service, books);
  });

  it("is restarted in order, again and again, loses no write by that", async () => {
    for (let round = 0; round < 3; round++) {
      await server.stop();
      await books.untilAnswered(10);
      await startServer();
      await books.untilAcknowledged(10);
    }
    await untilHealed(service, books);
  });

  it("has its connections ended by an administrator, again and again, opens others", async () => {
    const ended = await asAdmin(async (admin) => {
      let count = 0;
      for (let round = 0; round < 10; round++) {
        const { rows } = await admin.query(sql`select pg_terminate_backend(pid) from pg_stat_activity
          where backend_type = 'client backend' and pid <> pg_backend_pid()`);
        count += rows.length;
        await books.untilAcknowledged(5);
      }
      return count;
    });
    assert.ok(ended >= 10, `${ended} were ended`);
    await untilHealed(service, books);
  });

  const silences = [
    ["of which nothing is heard any more, while it goes on hearing", "answers"],
    ["is cut off without a word in either direction", "everything"],
  ] as const;
  for (const [how, what] of silences) {
    it(`${how}, is not ready, holds nobody up for long, and heals when the network does`, async (t) => {
      proxy.freeze(what);
      try {
        await untilReady(service, false);
        await assertNoStorm(t, service, books);
      } finally {
        proxy.thaw();
      }
      await untilHealed(service, books);
    });
  }

  it("has done what it could not tell of leaves that open, and it is not done twice", async () => {
    await loseCommits(books);
    await untilHealed(service, books);
  });

  it("has no connection left for it stays ready and refuses in time, and is not ready once it dies", async () => {
    await hold(service, maxConnections);
    const inUse = () => service.metric("database_pool_connections", { state: "in_use" });
    assert.equal(await inUse(), maxConnections);
    const load = startLoad({ url: `${service.url}/ready`, connections: 2, perSecond: 50 });
    await untilRefused(books, "503 ERR_DATABASE_ACQUIRE_TIMEOUT", 12); // in which the check runs many times
    const { statuses } = await load.stop();
    assert.deepEqual(Object.keys(statuses), ["200"]);
    assert.equal(await inUse(), maxConnections, "all of them still are");
    await killServer();
    await untilReady(service, false);
    await hold(service, 0);
    await startServer();
    await untilHealed(service, books);
  });

  it("has a full disk refuses writes with a code, is ready to be read, and takes them when there is room", async (t) => {
    await using disk = await startSmallDisk();
    t.diagnostic(disk.how);
    await disk.fill();
    await untilRefused(books, "503 ERR_DATABASE_UNAVAILABLE", 20);
    assert.equal((await ask(`${service.url}/query`)).status, 200);
    await untilReady(service, true);
    await asAdmin((admin) => books.balance(admin));
    await disk.empty();
    await untilHealed(service, books);
  });

  it("goes on while the machine's time of day jumps, back and forth, also when it is away meanwhile", async () => {
    const tooOld = () => service.metric("database_connections_closed_total", { reason: "lifetime" });
    const step = async (byMs: number): Promise<void> => {
      assert.equal((await ask(`${service.url}/clock`, { body: { byMs } })).status, 200);
    };
    const before = await tooOld();
    await step(dayMs);
    await books.untilAcknowledged(20);
    await step(-2 * dayMs);
    await books.untilAcknowledged(20);
    assert.equal(await tooOld(), before, "no connection was taken to be a day old");

    await hold(service, maxConnections);
    await step(-dayMs);
    await untilRefused(books, "503 ERR_DATABASE_ACQUIRE_TIMEOUT", 6);
    await hold(service, 0);
    await killServer();
    await untilReady(service, false);
    await step(-dayMs); // what was to be tried again in a moment is not a day off
    await startServer();
    await untilHealed(service, books);
    await step(3 * dayMs);
    await untilHealed(service, books);
  });

  it("has gone and come so often leaves nothing behind: no connection, no error that nobody caught", async (t) => {
    await books.stop();
    t.diagnostic(JSON.stringify(books.answers()));
    await asAdmin((admin) => books.balance(admin));
    await assertOnlyUnknown(service, books);
    await endLiveness();
    const { text } = await ask(`${service.url}/metrics`);
    const inState = (state: string): number => seriesOf(text, "database_pool_connections", { state });
    const opened = seriesOf(text, "database_connect_duration_seconds_count", { outcome: "ok" });
    const closed = seriesOf(text, "database_connections_closed_total");
    assert.equal(opened - closed, inState("idle"), "each connection that is open is in the pool");
    assert.deepEqual([inState("in_use"), inState("opening"), seriesOf(text, "database_pool_waiting")], [0, 0, 0]);
    assert.ok(seriesOf(text, "database_transaction_retries_total") > 0, "transactions were run again");
    const lost = seriesOf(text, "errors_total", { code: "ERR_DATABASE_CONNECTION_LOST" });
    assert.ok(lost >= 1, "the error bus has heard of the idle connections");
    assert.ok(lostIdle(service).length >= 1 && lostIdle(service).length <= lost, "once each, or folded");
    await assertStops(service);
  });
});

describe("a service whose database", { timeout: 60_000 }, () => {
  it("is not there when it starts keeps it waiting, alive and not ready, until it comes; a wrong password ends it at once", async () => {
    await server.stop();
    const [opsPort = 0] = await findFreePorts(1);
    const ops = `http://127.0.0.1:${opsPort}`;
    const statusOf = (path: string): Promise<number> =>
      ask(`${ops}${path}`).then(
        ({ status }) => status,
        () => 0,
      );
    const triedBefore = proxy.opened();
    const environment = { PLINTH_DATABASE_URL: proxied(), PLINTH_OPS_PORT: String(opsPort) };
    const starting = startService("database-service", { environment, opsPort });
    await until(() => proxy.opened() > triedBefore + 1, "it tries again", healLimitMs);
    assert.deepEqual([await statusOf("/healthz"), await statusOf("/ready")], [200, 503]);
    await startServer();
    await using service = await starting;
    assert.equal(await statusOf("/ready"), 200);
    assert.equal((await ask(`${service.url}/query`)).status, 200);
    const waits = () =>
      logOf(service.program.stdout()).filter(({ message }) => message === "the database cannot be reached yet");
    await until(() => waits().length > 0, "it is told", healLimitMs);
    assert.equal(waits().length, 1, "once");
    await assertStops(service);

    const wrong = proxied().replace(/:[^:@]+@/, ":wrong@");
    const startedAtMs = performance.now();
    await assert.rejects(
      startService("database-service", { environment: { PLINTH_DATABASE_URL: wrong } }),
      /password authentication failed/,
    );
    assert.ok(performance.now() - startedAtMs < 25_000, "it did not wait for what does not heal");
  });
});

describe("a service behind a pooler that hands out transactions", { timeout: 200_000 }, () => {
  it("loses no write when the pooler is killed, or the server behind it killed or cut off, and heals when they are back", async (t) => {
    const pool = "pool_mode=transaction pool_size=3";
    await using pooler: PgBouncer = await startPgBouncer({ server: proxied(), databases: { books: pool } });
    const environment = { PLINTH_DATABASE_POOLER: "transaction", PLINTH_DATABASE_SCHEMA: "pooled" };
    await using service = await start(pooler.url("books"), environment);
    const endLiveness = watchLiveness(service);
    await using books = keepBooks(`${service.url}/entries`);
    for (let round = 0; round < 3; round++) {
      await books.untilAcknowledged(20);
      await pooler.kill("SIGKILL");
      if (round === 0) await untilReady(service, false);
      await books.untilAnswered(20);
      await pooler.restart();
      await untilHealed(service, books, "pooled");
    }
    await killServer();
    await untilReady(service, false);
    await startServer();
    await untilHealed(service, books, "pooled");
    await loseCommits(books);
    await untilHealed(service, books, "pooled");
    await books.stop();
    await asAdmin((admin) => books.balance(admin), "pooled");
    t.diagnostic(JSON.stringify(books.answers()));
    await assertOnlyUnknown(service, books);
    await endLiveness();
    await assertStops(service);
  });
});

interface SmallDisk extends AsyncDisposable {
  readonly how: string;
  fill(): Promise<void>;
  empty(): Promise<void>;
}

const run = promisify(execFile);

/** The table of entries on a disk of its own, of 8 MB. */
async function startSmallDisk(): Promise<SmallDisk> {
  const disk = join(folder, "disk");
  await mkdir(disk, { recursive: true });
  try {
    await run("mount", ["-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", disk]);
  } catch {
    return startQuota();
  }
  const guard = afterUs('umount -l "$1"', disk);
  const space = join(disk, "space");
  await mkdir(space, { mode: 0o700 });
  const { uid, gid } = await stat(await asAdmin(dataFolderOf));
  await chown(space, uid, gid);
  await asAdmin((admin) => admin.query(sql`create tablespace small location ${sql.lit(space)}`));
  await asAdmin((admin) => admin.query(sql`alter table entries set tablespace small`));
  const filler = join(disk, "filler");
  const empty = (): Promise<void> => rm(filler, { force: true });
  return {
    how: "a full tmpfs",
    empty,
    async fill() {
      const file = await open(filler, "w");
      try {
        for (;;) await file.write(Buffer.alloc(4_096));
      } catch (error) {
        assert.equal(Reflect.get(Object(error), "code"), "ENOSPC");
      } finally {
        await file.close();
      }
    },
    async [Symbol.asyncDispose]() {
      await empty();
      await asAdmin((admin) => admin.query(sql`alter table entries set tablespace pg_default`));
      await asAdmin((admin) => admin.query(sql`drop tablespace small`));
      await run("umount", [disk]);
      guard.kill("SIGKILL");
    },
  };
}

/** Where nothing may be mounted: no full disk, but what the server says of one, and undone as there. */
function startQuota(): SmallDisk {
  const admin = (text: string) => asAdmin((db) => db.query(sql.raw(text)));
  const empty = async (): Promise<void> => {
    await admin("drop trigger if exists quota on entries");
  };
  return {
    how: "simulated by a trigger that says what a full disk does: nothing can be mounted here",
    async fill() {
      await admin(`create or replace function refuse() returns trigger language plpgsql as
        $$ begin raise exception 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$`);
      await admin("create trigger quota before insert on entries for each row execute function refuse()");
    },
    empty,
    [Symbol.asyncDispose]: empty,
  };
}

async function dataFolderOf(admin: Database): Promise<string> {
  const { rows } = await admin.query(sql<{ path: string }>`select current_setting('data_directory') as path`);
  return rows[0]?.path ?? "";
}
