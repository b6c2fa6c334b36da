// Probes of a real process whose dependencies fail and hang and whose event loop stands still: they tell the truth, and cost nothing.
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import { ask } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { type LoadReport, startLoad } from "../support/load.ts";
import { logOf } from "../support/platform.ts";
import { type Program, startProgram, userEnvironment } from "../support/program.ts";
import { until } from "../support/until.ts";

const root = join(import.meta.dirname, "../..");
const limitMs = 15_000;

interface Service extends AsyncDisposable {
  readonly program: Program;
  readonly http: string;
  readonly ops: string;
  /** How often each check has run. */
  runs(): Promise<Record<string, unknown>>;
  tell(what: string): Promise<void>;
}

async function startService(environment: Readonly<Record<string, string>> = {}): Promise<Service> {
  const script = join(root, "test/programs/checked-service.ts");
  const program = await startProgram(process.execPath, ["--conditions=plinth-source", script], {
    folder: root,
    environment: { ...userEnvironment(), ...environment },
  });
  try {
    await program.untilPrinted('"ops"', limitMs);
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
  const line = logOf(program.stdout()).find((line) => "ops" in line);
  const [http, ops] = [String(line?.["http"]), String(line?.["ops"])];
  return {
    program,
    http,
    ops,
    runs: async () => asRecord((await ask(`${http}/runs`)).json()),
    tell: async (what) => assert.equal((await ask(`${http}${what}`, { method: "POST" })).status, 200),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

interface Probe {
  readonly status: number;
  readonly state: unknown;
  /** Of each check by name. */
  readonly checks: Readonly<Record<string, Record<string, unknown>>>;
  readonly tookMs: number;
}

async function readiness({ ops }: Service): Promise<Probe> {
  const startedAtMs = performance.now();
  const { status, json } = await ask(`${ops}/ready`);
  const tookMs = performance.now() - startedAtMs;
  const { state, checks } = asRecord(json());
  assert.ok(Array.isArray(checks));
  const named = checks.map(asRecord).map((check) => [String(check["name"]), check] as const);
  return { status, state, checks: Object.fromEntries(named), tookMs };
}

const untilState = (service: Service, state: string): Promise<void> =>
  until(async () => (await readiness(service)).state === state, `the service is ${state}`, limitMs);

/** The statuses of so many probes on 200 connections. */
async function probe(url: string, count: number): Promise<Record<number, number>> {
  const agent = new Agent({ keepAlive: true, maxSockets: 200 });
  const statuses: Record<number, number> = {};
  const one = async (): Promise<void> => {
    const sent = request(url, { agent }).end();
    const [response] = await once(sent, "response");
    response.resume();
    await once(response, "end");
    statuses[response.statusCode] = (statuses[response.statusCode] ?? 0) + 1;
  };
  try {
    await Promise.all(Array.from({ length: count }, one));
  } finally {
    agent.destroy();
  }
  return statuses;
}

describe("probes during an outage", () => {
  it("start one round, all of a hundred that come before there is a verdict; a check that hangs delays no other", async () => {
    await using service = await startService({ CHECK_MODE: "hang", CHECK_INTERVAL_MS: "60000" });
    const alive = probe(`${service.ops}/healthz`, 100);
    assert.deepEqual(await probe(`${service.ops}/ready`, 100), { 503: 100 });
    assert.deepEqual(await alive, { 200: 100 });
    const { state, checks } = await readiness(service);
    assert.equal(state, "failing");
    assert.partialDeepStrictEqual(checks, {
      database: { status: "fail", output: "timed out" },
      mail: { status: "warn", output: "timed out" },
      heap: { status: "pass" },
      "event-loop": { status: "pass" },
    });
    const { database, mail } = await service.runs();
    assert.deepEqual([database, mail], [1, 1]);
  });

  it("cost a check no run more, ten thousand of them under load, and are as quick as when all is well", async () => {
    await using service = await startService();
    const load = startLoad({ url: `${service.http}/work` });
    await untilState(service, "ready");
    const timed = async (): Promise<[statuses: Record<number, number>, tookMs: number]> => {
      const startedAtMs = performance.now();
      const statuses = await probe(`${service.ops}/ready`, 10_000);
      return [statuses, performance.now() - startedAtMs];
    };
    const [up, upMs] = await timed();
    assert.deepEqual(up, { 200: 10_000 });
    await service.tell("/check/database/hang");
    await untilState(service, "failing");
    const before = (await service.runs())["database"];
    const [down, downMs] = await timed();
    assert.deepEqual(down, { 503: 10_000 });
    assert.equal((await service.runs())["database"], before);
    assert.ok(downMs < 10 * upMs, `${downMs} ms while the check hangs, ${upMs} ms while it passes`);
    assert.deepEqual(unexpected(await load.stop()), []);
  });

  it("show a critical check as failing after two runs, another as degraded with 200, and both recover", async () => {
    await using service = await startService();
    await service.tell("/check/mail/fail");
    await untilState(service, "degraded");
    const degraded = await readiness(service);
    assert.equal(degraded.status, 200);
    assert.partialDeepStrictEqual(degraded.checks["mail"], { status: "warn", output: "failed" });
    await service.tell("/check/database/fail");
    await untilState(service, "failing");
    const failing = await readiness(service);
    assert.equal(failing.status, 503);
    assert.partialDeepStrictEqual(failing.checks["database"], { status: "fail", output: "failed" });
    assert.doesNotMatch(JSON.stringify(failing.checks), /10\.1\.2\.3/);
    assert.match((await ask(`${service.ops}/ready?verbose`)).text, /ECONNREFUSED 10\.1\.2\.3:5432/);
    assert.equal((await ask(`${service.ops}/healthz`)).status, 200);
    await service.tell("/check/database/pass");
    await service.tell("/check/mail/pass");
    await untilState(service, "ready");
    service.program.signal("SIGTERM");
    assert.equal((await service.program.exit).code, 0);
    const said = logOf(service.program.stdout()).filter(({ logger }) => logger === "health");
    assert.deepEqual(
      said.map(({ message, check }) => `${String(message)}: ${String(check)}`).toSorted(),
      ["database", "mail"]
        .flatMap((check) => [`health check failed: ${check}`, `health check passes again: ${check}`])
        .toSorted(),
      "each transition once",
    );
  });

  it("are answered while a check hangs, from verdicts no older than the schedule, and it runs again when it can", async () => {
    await using service = await startService();
    await service.tell("/check/database/hang");
    await untilState(service, "failing");
    const before = (await service.runs())["database"];
    for (let round = 0; round < 10; round++) {
      const { checks, tookMs } = await readiness(service);
      assert.ok(tookMs < 5_000, `${tookMs} ms`); // it would hang for ever
      assert.ok(Number(checks["mail"]?.["ageMs"]) < 5_000, JSON.stringify(checks));
      await new Promise((resolve) => void setTimeout(resolve, 50));
    }
    assert.equal((await service.runs())["database"], before, "no run beside the one that hangs");
    await service.tell("/check/database/pass");
    await untilState(service, "ready");
  });
});

describe("an event loop that stands still", () => {
  it("turns liveness off just after a stall above the limit, for a while; under load, and no check is blamed for it", async () => {
    await using peer = await slowPeer();
    await using service = await startService({ PEER_PORT: String(peer.port) });
    await untilState(service, "ready");
    const load = startLoad({ url: `${service.http}/work` });
    await load.untilMore(100);
    const liveness = async (): Promise<number> => (await ask(`${service.ops}/healthz`)).status;

    await service.tell("/stall/400"); // below the limit of a second
    await new Promise((resolve) => void setTimeout(resolve, 100));
    assert.equal(await liveness(), 200);

    await service.tell("/stall/3500");
    await new Promise((resolve) => void setTimeout(resolve, 200));
    const during = await ask(`${service.ops}/healthz`); // gets through when the stall has ended
    assert.deepEqual([during.status, during.json()], [503, { status: "fail", output: "event loop stalled" }]);
    assert.equal(during.headers.get("cache-control"), "no-store");
    const { status, checks } = await readiness(service);
    assert.equal(status, 200, "readiness is not about this");
    assert.equal(checks["peer"]?.["status"], "pass", "its answer came during the stall");
    await until(async () => (await liveness()) === 200, "alive again", limitMs);

    const { stalls } = asRecord((await ask(`${service.ops}/healthz?verbose`)).json());
    assert.ok(Number(stalls) >= 1, "a busy machine may add some");
    const { text } = await ask(`${service.ops}/metrics`);
    assert.match(text, /^health_event_loop_stalls_total [1-9]/m);
    assert.match(text, /^health_check_flips_total\{check="peer"\} 0$/m);
    assert.deepEqual(unexpected(await load.stop()), []);
  });
});

/** What callers got besides replies, and besides being told that the server has too much to do, as it has after a stall. */
function unexpected({ statuses, refused, broken }: LoadReport): readonly string[] {
  const other = Object.keys(statuses).filter((status) => status !== "200" && status !== "503 ERR_OVERLOADED");
  return [...other, ...broken, ...(refused > 0 ? ["refused"] : [])];
}

/** A TCP server that answers each connection after a tenth of a second. */
async function slowPeer(): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    setTimeout(() => socket.end("well"), 100);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
