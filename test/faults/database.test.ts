// The database dies, hangs and is full, under a service that is asked all the time: it stays alive, tells the truth, and heals by itself.
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "@plinth/database/embedded";
import { findFreePorts } from "../../scripts/servers/index.ts";
import { ask, seriesOf } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { type Load, startLoad } from "../support/load.ts";
import { logOf } from "../support/platform.ts";
import { treeOf } from "../support/processes.ts";
import { type Service, startService } from "../support/service.ts";
import { until } from "../support/until.ts";

const checkIntervalMs = 300;
const checkTimeoutMs = 500;
/** Two runs of the check, each as late as can be; ten times that on a machine with other things to do. */
const flipLimitMs = 10 * 2 * (checkIntervalMs + checkTimeoutMs);
const healLimitMs = 30_000;
const maxConnections = 4;
const waitsForServer = "the database cannot be reached yet";

let folder: string;
let server: EmbeddedPostgres;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "plinth-faults-"));
  await chmod(folder, 0o755); // the server's account may enter it, so that all of it is removed in the end
});
beforeEach(async () => void (server = await startEmbeddedPostgres({ dataDir: folder, fsync: false })));
afterEach(() => server.stop());
after(() => rm(folder, { recursive: true, force: true }));

const start = (deadlineMs = 1_000): Promise<Service> =>
  startService("database-service", {
    environment: {
      PLINTH_DATABASE_URL: server.url,
      PLINTH_DATABASE_MAX_CONNECTIONS: String(maxConnections),
      PLINTH_DATABASE_CONNECT_TIMEOUT_MS: "500",
      PLINTH_DATABASE_CHECK_INTERVAL_MS: String(checkIntervalMs),
      PLINTH_DATABASE_CHECK_TIMEOUT_MS: String(checkTimeoutMs),
      PLINTH_HTTP_DEADLINE_MS: String(deadlineMs),
    },
  });

/** The processes of the server, the first of them its postmaster. */
function serverProcesses(): readonly number[] {
  const postmaster = treeOf(1)
    .concat(treeOf(process.pid))
    .find(({ command }) => command.includes(`postgres -D ${folder}`));
  assert.ok(postmaster, "the server runs");
  const others = treeOf(postmaster.pid).filter(({ pid }) => pid !== postmaster.pid);
  return [postmaster.pid, ...others.map(({ pid }) => pid)];
}

function signalServer(signal: NodeJS.Signals): void {
  for (const pid of serverProcesses()) process.kill(pid, signal);
}

/** Asks for liveness all the time, so that a single answer that is none is seen. */
function watchLiveness({ url }: Service): () => Promise<void> {
  const load = startLoad({ url: `${url}/healthz`, connections: 1, perSecond: 20 });
  return async () => {
    const { statuses, broken, refused } = await load.stop();
    assert.deepEqual([Object.keys(statuses), broken, refused], [["200"], [], 0]);
    assert.ok(load.durations().slowestMs < 5_000, `liveness took ${load.durations().slowestMs} ms`);
  };
}

const startQueries = ({ url }: Service): Load => startLoad({ url: `${url}/query`, connections: 8, perSecond: 100 });

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
async function untilReady(service: Service, isReady: boolean, limitMs: number): Promise<number> {
  const startedAtMs = performance.now();
  const expected: Readiness = isReady ? { status: 200, database: "pass" } : { status: 503, database: "fail" };
  let seen: Readiness | undefined;
  await until(
    async () => {
      seen = await readiness(service);
      return seen.status === expected.status && seen.database === expected.database;
    },
    () => `the probe says ${JSON.stringify(expected)}, not ${JSON.stringify(seen)}`,
    limitMs,
  );
  return performance.now() - startedAtMs;
}

const typed = /^(200|503 ERR_DATABASE_(UNAVAILABLE|CONNECTION_LOST|ACQUIRE_TIMEOUT)|504 \w+)$/;

/** What the requests got since `before`, each of it a reply with a code that says why. */
function assertTyped(load: Load): void {
  const { statuses, broken, refused } = load.report();
  assert.deepEqual([broken, refused], [[], 0]);
  for (const status of Object.keys(statuses)) assert.match(status, typed);
}

/** Until nothing but 200 comes. */
async function untilServed({ url }: Service): Promise<void> {
  await until(async () => (await ask(`${url}/query`)).status === 200, "queries are answered again", healLimitMs);
  for (let count = 0; count < 20; count++) assert.equal((await ask(`${url}/query`)).status, 200);
}

const lostIdle = ({ program }: Service): Record<string, unknown>[] =>
  logOf(program.stdout()).filter(({ message }) => message === "an idle connection was lost");

async function assertStops({ program }: Service): Promise<void> {
  program.signal("SIGTERM");
  assert.deepEqual(await program.exit, { code: 0, signal: null }, program.stderr());
  assert.equal(program.stderr(), "", "nothing was uncaught");
}

describe("a service whose database", { timeout: 180_000 }, () => {
  it("is killed stays alive, says that it is not ready, fails fast with a code, and heals when it is back", async (t) => {
    await using service = await start();
    const port = Number(new URL(server.url).port);
    const endLiveness = watchLiveness(service);
    const load = startQueries(service);
    await load.untilMore(50);
    const [postmaster = 0] = serverProcesses();
    process.kill(postmaster, "SIGKILL");
    const flippedMs = await untilReady(service, false, flipLimitMs);

    // Away for two seconds: long enough for a storm of attempts, were there one.
    const attempts = async () =>
      (await service.metric("database_connect_duration_seconds_count")) -
      (await service.metric("database_connect_duration_seconds_count", { outcome: "ok" }));
    const awayAtMs = performance.now();
    const before = await attempts();
    const refusedFrom = load.report().statuses["503 ERR_DATABASE_UNAVAILABLE"] ?? 0;
    await load.untilMore(200);
    const made = (await attempts()) - before;
    const refused = (load.report().statuses["503 ERR_DATABASE_UNAVAILABLE"] ?? 0) - refusedFrom;
    const awayMs = performance.now() - awayAtMs;
    t.diagnostic(
      `not ready after ${flippedMs.toFixed(0)} ms; ${made} attempts for ${refused} requests in ${awayMs.toFixed(0)} ms`,
    );
    assert.ok(refused >= 100, `${refused} refused`);
    assert.ok(made <= 6 + awayMs / 1_000, `${made} attempts to connect in ${awayMs} ms`);
    assert.ok((await ask(`${service.url}/query`)).text.includes("ERR_DATABASE_UNAVAILABLE"));

    const lost = await service.metric("errors_total", { code: "ERR_DATABASE_CONNECTION_LOST" });
    assert.ok(lost >= 1, "the error bus has heard of the idle connections");
    await until(() => lostIdle(service).length >= 1, "a line of it", flipLimitMs);
    assert.ok(lostIdle(service).length <= maxConnections + 1, "once each, or folded");

    server = await startEmbeddedPostgres({ dataDir: folder, port, fsync: false });
    await untilReady(service, true, healLimitMs);
    await untilServed(service);
    assertTyped(load);
    await load.stop();
    await endLiveness();
    await assertStops(service);
  });

  it("hangs stays alive, says that it is not ready, holds nobody up for long, and heals when it goes on", async (t) => {
    await using service = await start();
    const endLiveness = watchLiveness(service);
    const load = startQueries(service);
    await load.untilMore(50);
    signalServer("SIGSTOP");
    try {
      const flippedMs = await untilReady(service, false, flipLimitMs);
      t.diagnostic(`not ready after ${flippedMs.toFixed(0)} ms`);
      await load.untilMore(100);
      assert.ok(
        load.durations().slowestMs < 10 * 1_000,
        `a request took ${load.durations().slowestMs} ms, its deadline is 1 s`,
      );
      assert.equal((await readiness(service)).status, 503);
    } finally {
      signalServer("SIGCONT");
    }
    await untilReady(service, true, healLimitMs);
    await untilServed(service);
    assertTyped(load);
    await load.stop();
    await endLiveness();
    await assertStops(service);
  });

  it("has no connection left for it is still found ready in time, and not ready once it dies", async () => {
    await using service = await start(60_000);
    const holding = new AbortController();
    const held = Array.from({ length: maxConnections }, () =>
      fetch(`${service.url}/hold`, { signal: holding.signal }).catch(() => undefined),
    );
    const inUse = () => service.metric("database_pool_connections", { state: "in_use" });
    await until(async () => (await inUse()) === maxConnections, "all connections are held", flipLimitMs);
    const load = startLoad({ url: `${service.url}/ready`, connections: 2, perSecond: 50 });
    await delay(3 * (checkIntervalMs + checkTimeoutMs)); // more runs of the check than turn it
    const { statuses } = await load.stop();
    assert.deepEqual(Object.keys(statuses), ["200"]);
    assert.equal(await inUse(), maxConnections, "all of them still are");
    assert.ok(load.durations().slowestMs < 5_000, `readiness took ${load.durations().slowestMs} ms`);
    const [postmaster = 0] = serverProcesses();
    process.kill(postmaster, "SIGKILL");
    await untilReady(service, false, flipLimitMs);
    holding.abort();
    await Promise.all(held);
    await assertStops(service);
  });

  it("is not there when it starts keeps it waiting, alive and not ready, until it comes; a wrong password ends it at once", async () => {
    const serverPort = Number(new URL(server.url).port);
    let tries = 0;
    let isThere = false;
    const front = createServer((socket) => {
      tries++;
      if (isThere) pipeline(socket, connect(serverPort, "127.0.0.1"), socket, () => {});
      else socket.destroy();
    });
    front.listen(0, "127.0.0.1");
    await once(front, "listening");
    const address = front.address();
    assert.ok(typeof address === "object" && address);
    const url = server.url.replace(`:${serverPort}/`, `:${address.port}/`);
    const [opsPort = 0] = await findFreePorts(1);
    const statusOf = async (path: string): Promise<number> => (await ask(`http://127.0.0.1:${opsPort}${path}`)).status;

    const environment = { PLINTH_DATABASE_URL: url, PLINTH_OPS_PORT: String(opsPort) };
    const starting = startService("database-service", { environment, opsPort });
    await until(() => tries > 1, "it tries again", healLimitMs);
    assert.deepEqual([await statusOf("/healthz"), await statusOf("/ready")], [200, 503]);
    isThere = true;
    {
      await using service = await starting;
      assert.equal(await statusOf("/ready"), 200);
      assert.equal((await ask(`${service.url}/query`)).status, 200);
      const waits = logOf(service.program.stdout()).filter(({ message }) => message === waitsForServer);
      assert.equal(waits.length, 1, "told once");
      await assertStops(service);
    }
    front.close();
    await once(front, "close");

    const wrong = server.url.replace(/:[^:@]+@/, ":wrong@");
    const refused = startService("database-service", { environment: { PLINTH_DATABASE_URL: wrong } });
    const { message } = await refused.then(
      () => assert.fail("it has started"),
      (error: Error) => error,
    );
    assert.match(message, /password authentication failed/);
    assert.ok(!message.includes(waitsForServer), "it did not wait for what does not heal");
  });

  it("goes and comes many times leaves nothing behind: no connection, no error that nobody caught", async () => {
    await using service = await start();
    const port = Number(new URL(server.url).port);
    const load = startQueries(service);
    for (let round = 0; round < 3; round++) {
      await load.untilMore(30);
      const [postmaster = 0] = serverProcesses();
      process.kill(postmaster, "SIGKILL");
      await load.untilMore(30);
      server = await startEmbeddedPostgres({ dataDir: folder, port, fsync: false });
      await untilServed(service);
    }
    assertTyped(load);
    await load.stop();
    const text = (await ask(`${service.url}/metrics`)).text;
    const open = ["idle", "in_use", "opening"].map((state) => seriesOf(text, "database_pool_connections", { state }));
    const opened = seriesOf(text, "database_connect_duration_seconds_count", { outcome: "ok" });
    const closed = seriesOf(text, "database_connections_closed_total");
    assert.equal(opened - closed, open[0]! + open[1]!, "each connection that is open is in the pool");
    assert.equal(seriesOf(text, "database_pool_waiting"), 0);
    await assertStops(service);
  });
});
