// Several processes of one service on one port, as those see it who send requests, scrapes and signals.
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { findFreePorts, startConsul } from "../../scripts/servers/index.ts";
import { instancesIn } from "../support/consul.ts";
import { connectGrpc } from "../support/grpc.ts";
import { seriesOf } from "../support/http.ts";
import { asRecord } from "../support/json.ts";
import { startLoad } from "../support/load.ts";
import { occupyPort, untilFree } from "../support/ports.ts";
import { killNow, listProcesses, treeOf, untilGone } from "../support/processes.ts";
import type { Program } from "../support/program.ts";
import { until } from "../support/until.ts";
import { limitMs, loggedBy, run, saidBy, start } from "./program.ts";

const main = join(import.meta.dirname, "../programs/worker-service.ts");
const count = 3;

/** The program, its workers, and requests to whichever of them. */
class Service implements AsyncDisposable {
  readonly program: Program;
  readonly url: string;
  readonly port: number;

  constructor(program: Program, port: number) {
    this.program = program;
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** On a connection of its own, so that each goes to the next worker in turn; or on that of `agent`. */
  async get(path: string, agent: Agent | false = false, port = this.port): Promise<string> {
    const request = get(`http://127.0.0.1:${port}${path}`, { agent, timeout: limitMs });
    request.once("timeout", () => request.destroy(new Error(`no reply to ${path} within ${limitMs} ms`)));
    const [response] = (await once(request, "response")) as [IncomingMessage];
    const body = await text(response);
    assert.equal(response.statusCode, 200, `${path}: ${body}`);
    return body;
  }

  /** Requests of /work that all workers together have answered. */
  async total(agent: Agent | false = false): Promise<number> {
    return workOf(await this.get("/metrics", agent));
  }

  /** Process ids of the workers that run now. */
  workers(): number[] {
    return treeOf(this.program.pid)
      .filter(({ parentPid, command }) => parentPid === this.program.pid && command.includes("worker-service"))
      .map(({ pid }) => pid);
  }

  /** Waits until all workers have become ready `times` times over. */
  async untilReady(times = count): Promise<void> {
    let hasEnded = false;
    void this.program.exit.then(() => (hasEnded = true));
    const isReady = (): boolean => eventsIn(this.program, "ready").length >= times;
    const what = (): string => `${times} times ready; it wrote ${this.program.stdout()}${this.program.stderr()}`;
    await until(() => hasEnded || isReady(), what, limitMs);
    assert.ok(isReady(), what());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.program[Symbol.asyncDispose]());
  }
}

const workOf = (metrics: string): number =>
  seriesOf(metrics, "http_server_request_duration_seconds_count", { route: "/work" });

/** What its workers said of themselves. */
const eventsIn = (program: Program, event: string): Record<string, unknown>[] =>
  saidBy(program.stdout())
    .map((line) => asRecord(JSON.parse(line)))
    .filter((line) => line.event === event);

async function startService(environment: Readonly<Record<string, string>> = {}): Promise<Service> {
  const [port = 0] = await findFreePorts(1);
  const program = await start(main, [], {
    WORKERS: String(count),
    PLINTH_HTTP_PORT: String(port),
    PLINTH_HTTP_ACCESS_LOG: "false",
    PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "100",
    ...environment,
  });
  const service = new Service(program, port);
  if (environment.TROUBLE !== "start") await service.untilReady(Number(environment.WORKERS ?? count));
  return service;
}

describe("several workers on one port", { concurrency: 1 }, () => {
  it("share the requests, and tell the same totals whichever of them is asked, on the port and on that for ops", async () => {
    const [ops = 0] = await findFreePorts(1);
    await using service = await startService({ PLINTH_OPS_PORT: String(ops) });
    const served = new Map<unknown, number>();
    for (let requests = 0; requests < 30; requests++) {
      const { pid } = asRecord(JSON.parse(await service.get("/work")));
      served.set(pid, (served.get(pid) ?? 0) + 1);
    }
    assert.deepEqual(new Set(served.keys()), new Set(service.workers()));
    assert.ok([...served.values()].every((requests) => requests >= 5));

    const load = startLoad({ url: `${service.url}/work`, connections: 6 });
    await load.untilMore(1_000);
    const during: number[] = [];
    for (let scrapes = 0; scrapes < 10; scrapes++) during.push(workOf(await service.get("/metrics", false, ops)));
    const { statuses, ...failures } = await load.stop();
    assert.deepEqual(failures, { refused: 0, unaccepted: 0, broken: [] });
    const sent = 30 + (statuses["200"] ?? 0);
    assert.deepEqual(
      during,
      during.toSorted((a, b) => a - b),
    );
    assert.ok((during.at(-1) ?? 0) > (during[0] ?? 0));
    const scrape = async (): Promise<number> => workOf(await service.get("/metrics", false, ops));
    await until(async () => (await scrape()) >= sent, "the last request is counted", limitMs);
    const after = await Promise.all(Array.from({ length: 6 }, scrape));
    assert.deepEqual(
      after,
      Array.from({ length: 6 }, () => sent),
    );

    const metrics = await service.get("/metrics", false, ops);
    assert.equal(seriesOf(metrics, "workers_configured"), count);
    assert.equal(seriesOf(metrics, "workers_up"), count);
    assert.equal(seriesOf(metrics, "workers_missing"), 0);
    assert.equal(seriesOf(metrics, "workers_restarts_total"), 0);
    assert.equal(seriesOf(metrics, "workers_aggregated"), 1);
    assert.equal(seriesOf(metrics, "app_state", { state: "ready" }), count);
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
  });

  it("go on when one is killed under load: it is replaced, no total falls, and what fails was under way in it", async () => {
    await using service = await startService();
    const connections = 6;
    const load = startLoad({ url: `${service.url}/work`, connections });
    await load.untilMore(300);
    let [last, falls, scrapes, longestMs] = [await service.total(), 0, 0, 0];
    const isOver = new AbortController();
    const watching = (async () => {
      while (!isOver.signal.aborted) {
        const startedAtMs = performance.now();
        const total = await service.total().catch(() => last); // one that the killed worker was answering
        if (total < last) falls++;
        last = Math.max(last, total);
        longestMs = Math.max(longestMs, performance.now() - startedAtMs);
        scrapes++;
      }
    })();
    const [victim = 0] = service.workers();
    killNow(victim);
    await load.untilMore(300);
    await service.untilReady(count + 1);
    await load.untilMore(300);
    isOver.abort();
    await watching;
    const { statuses, refused, unaccepted, broken } = await load.stop();
    assert.deepEqual(Object.keys(statuses), ["200"]);
    assert.equal(refused, 0);
    assert.ok(broken.length + unaccepted <= connections, `${broken.join(", ")}; ${unaccepted} unaccepted`);
    assert.deepEqual([falls, scrapes >= 3], [0, true]);
    // 1 s for the workers, 1 s for the primary: no scrape waits for the one that is gone
    assert.ok(longestMs < 20_000, `a scrape took ${longestMs} ms`);
    const workers = service.workers();
    assert.deepEqual([workers.length, workers.includes(victim)], [count, false]);
    const metrics = await service.get("/metrics");
    assert.equal(seriesOf(metrics, "workers_restarts_total", { reason: "signal" }), 1);
    assert.equal(seriesOf(metrics, "workers_up"), count);
    service.program.signal("SIGTERM");
    assert.equal((await service.program.exit).code, 0, service.program.stderr());
  });

  it("lose no count of one that is told to stop, and start another", async () => {
    await using service = await startService();
    for (let requests = 0; requests < 9; requests++) await service.get("/work");
    const [one = 0] = service.workers();
    process.kill(one, "SIGTERM");
    await service.untilReady(count + 1);
    assert.equal(await service.total(), 9);
    const metrics = await service.get("/metrics");
    assert.equal(seriesOf(metrics, "workers_restarts_total", { reason: "ended" }), 1);
    assert.equal(eventsIn(service.program, "stopped").length, 1);
  });

  it("answer while one hangs: within the limit of a scrape, with its last values, and tell that it is missing", async () => {
    await using service = await startService({ SCRAPE_MS: "300" });
    for (let requests = 0; requests < 12; requests++) await service.get("/work");
    assert.equal(await service.total(), 12);
    const [hanging = 0] = service.workers();
    process.kill(hanging, "SIGSTOP");
    try {
      // the one that hangs is given one connection, and no other
      const held = get(`${service.url}/work`, { agent: false }).on("error", () => {});
      const others = Array.from({ length: 3 }, () =>
        get(`${service.url}/work`, { agent: false }).on("error", () => {}),
      );
      const answered = new Set<unknown>();
      for (const request of [held, ...others]) request.once("response", (response) => answered.add(response.resume()));
      await until(() => answered.size === 3, "three of four are answered", limitMs);
      const metrics = await service.get("/metrics");
      assert.equal(workOf(metrics), 15);
      assert.equal(seriesOf(metrics, "workers_missing"), 1);
      assert.equal(seriesOf(metrics, "workers_up"), count - 1);
      assert.equal(seriesOf(metrics, "workers_aggregated"), 1);
    } finally {
      process.kill(hanging, "SIGCONT");
    }
    await until(async () => (await service.total()) === 16, "it is there again, with what it was given", limitMs);
    assert.equal(seriesOf(await service.get("/metrics"), "workers_missing"), 0);
  });

  it("take over the connection that one was given and had not taken when it was killed", async () => {
    await using service = await startService({ SCRAPE_MS: "300" });
    const [hanging = 0] = service.workers();
    process.kill(hanging, "SIGSTOP");
    const replies: Promise<string>[] = [];
    let answered = 0;
    for (let requests = 0; requests < count; requests++) {
      const reply = service.get("/work");
      replies.push(reply);
      void reply.then(() => answered++);
    }
    await until(() => answered === count - 1, "all are answered but that of the one that hangs", limitMs);
    killNow(hanging);
    for (const reply of replies) assert.notEqual(asRecord(JSON.parse(await reply)).pid, hanging);
  });

  it("show one worker alone, marked as such, when the primary hangs", async () => {
    await using service = await startService({ SCRAPE_MS: "300" });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    await service.get("/work");
    assert.equal(await service.total(agent), 1);
    process.kill(service.program.pid, "SIGSTOP");
    try {
      const metrics = await service.get("/metrics", agent);
      assert.match(metrics, /^workers_aggregated\{worker="\d"\} 0$/m);
      assert.doesNotMatch(metrics, /^http_server_request_duration_seconds_count\{[^}]*status="\d+"\}/m);
      assert.match(metrics, /^app_state\{state="ready",worker="\d"\} 1$/m);
    } finally {
      process.kill(service.program.pid, "SIGCONT");
    }
    await until(async () => (await service.total(agent)) === 1, "all are shown together again", limitMs);
    agent.destroy();
  });

  it("pass over garbage that one sends to the primary", async () => {
    await using service = await startService({ TROUBLE: "garbage" });
    await service.get("/work");
    await until(async () => (await service.total()) === 1, "the metrics of all", limitMs);
    assert.equal(seriesOf(await service.get("/metrics"), "workers_up"), count);
    service.program.signal("SIGTERM");
    assert.equal((await service.program.exit).code, 0, service.program.stderr());
  });
});

describe("several workers in a registry", () => {
  it("are an instance each, on the same port; one that is killed takes no other with it, and a stop takes all out", async () => {
    await using consul = await startConsul();
    await using service = await startService({
      WORKERS: "2",
      PLINTH_CONSUL_ADDR: consul.address,
      PLINTH_REGISTRY_TTL_MS: "1000",
    });
    const passing = async () => (await instancesIn(consul.address)).filter(({ isPassing }) => isPassing);
    const untilPassing = (howMany: number): Promise<void> =>
      until(async () => (await passing()).length === howMany, `${howMany} pass`, limitMs);
    await untilPassing(2);
    const first = await passing();
    assert.equal(new Set(first.map(({ id }) => id)).size, 2);
    assert.ok(first.every(({ service: name, port }) => name === "working" && port === service.port));
    const [victim = 0] = service.workers();
    killNow(victim);
    await service.untilReady(3);
    const isOld = ({ id }: { readonly id: string }): boolean => first.some((instance) => instance.id === id);
    await until(
      async () => (await passing()).filter(isOld).length === 1 && (await passing()).length === 2,
      "the one in its place passes, while the entry of the dead has no heartbeats any more",
      limitMs,
    );
    const then = await passing();
    service.program.signal("SIGTERM");
    assert.equal((await service.program.exit).code, 0, service.program.stderr());
    const left = await instancesIn(consul.address);
    assert.ok(left.every(({ id }) => !then.some((instance) => instance.id === id)));
  });
});

describe("the signals of several workers", { concurrency: 2 }, () => {
  it("SIGTERM under load fails no request, stops every worker in order, and exits with 0", async (t) => {
    await using service = await startService({ PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "300" });
    const connections = 6;
    const load = startLoad({ url: `${service.url}/work`, connections });
    await load.untilMore(300);
    const before = load.report().statuses["200"] ?? 0;
    service.program.signal("SIGTERM");
    await load.ended;
    const exit = await service.program.exit;
    const { statuses, refused, unaccepted, broken } = load.report();
    t.diagnostic(`${(statuses["200"] ?? 0) - before} replies after SIGTERM, ${unaccepted} connections not accepted`);
    assert.deepEqual([Object.keys(statuses), broken, refused], [["200"], [], connections]);
    assert.ok(unaccepted <= connections, `${unaccepted} connections were reset`);
    assert.ok((statuses["200"] ?? 0) > before, "requests were served while it announced that it would stop");
    assert.deepEqual(exit, { code: 0, signal: null }, service.program.stderr());
    assert.equal(service.program.stderr(), "");
    assert.equal(eventsIn(service.program, "stopped").length, count);
    await untilFree([service.port], limitMs);
  });

  it("SIGTERM fails none of the connections that are made and that no worker has taken yet, HTTP or gRPC", async () => {
    const [grpcPort = 0] = await findFreePorts(1);
    await using service = await startService({
      PLINTH_GRPC_PORT: String(grpcPort),
      PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0",
      PLINTH_HTTP_MAX_LOOP_DELAY_MS: "0", // else they refuse what came while they stood still
      PLINTH_GRPC_MAX_LOOP_DELAY_MS: "0",
    });
    const workers = service.workers();
    for (const worker of workers) process.kill(worker, "SIGSTOP");
    const requests = Array.from({ length: 10 }, () => get(`${service.url}/work`, { agent: false }));
    const responses = requests.map((request) => once(request, "response") as Promise<[IncomingMessage]>);
    const sockets = await Promise.all(
      requests.map(async (request) => ((await once(request, "socket")) as [Socket])[0]),
    );
    await until(() => sockets.every(({ connecting }) => !connecting), "all are connected", limitMs);
    const connections = await Promise.all(Array.from({ length: 6 }, () => connectGrpc(`127.0.0.1:${grpcPort}`)));
    const calls = connections.map((each) => each.call("/grpc.health.v1.Health/Check", new Uint8Array()));
    service.program.signal("SIGTERM");
    const isTold = (): boolean =>
      loggedBy(service.program.stdout()).some(({ message }) => message === "workers told to stop");
    await until(isTold, "the workers are told, and will know once they go on", limitMs);
    for (const worker of workers) process.kill(worker, "SIGCONT");
    const statuses = await Promise.all(responses.map(async (response) => (await response)[0].resume().statusCode));
    const answers = await Promise.all(calls);
    assert.deepEqual(new Set(statuses), new Set([200]));
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([0]));
    for (const connection of connections) await connection[Symbol.asyncDispose]();
    assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
  });

  it("Ctrl-C, which reaches all processes at once, does the same", async () => {
    await using service = await startService();
    service.program.interrupt();
    assert.deepEqual(await service.program.exit, { code: 0, signal: null }, service.program.stderr());
    assert.equal(service.program.stderr(), "");
    assert.equal(eventsIn(service.program, "stopped").length, count);
  });

  it("a second one ends all processes at once, whoever got the first", async () => {
    for (const [first, second, code] of [
      ["alone", "alone", 143],
      ["all", "all", 130],
    ] as const) {
      await using service = await startService({
        PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "60000",
        PLINTH_LIFECYCLE_DRAIN_MS: "120000",
        PLINTH_LIFECYCLE_STOP_MS: "300000",
      });
      const workers = service.workers();
      const send = (to: "alone" | "all"): void =>
        to === "all" ? service.program.interrupt() : service.program.signal("SIGTERM");
      send(first);
      await until(
        () => loggedBy(service.program.stdout()).filter(({ message }) => message === "app draining").length === count,
        "all drain",
        limitMs,
      );
      await new Promise((resolve) => void setTimeout(resolve, 150)); // sooner it would be one key press
      send(second);
      assert.deepEqual(await service.program.exit, { code, signal: null }, service.program.stderr());
      await untilGone(() => listProcesses().filter(({ pid }) => workers.includes(pid)), limitMs);
      assert.equal(eventsIn(service.program, "stopped").length, 0);
      const exits = eventsIn(service.program, "exited").filter(({ pid }) => workers.includes(Number(pid)));
      assert.deepEqual(
        exits.map((exit) => exit.code),
        workers.map(() => code),
        "none was killed: each had a moment for its last lines",
      );
    }
  });

  it("SIGTERM during the start takes it back, and exits with 0", async () => {
    const [port = 0] = await findFreePorts(1);
    await using program = await start(main, [], {
      WORKERS: "2",
      PLINTH_HTTP_PORT: String(port),
      TROUBLE: "slow start",
    });
    await until(() => eventsIn(program, "starting").length === 2, "both are starting", limitMs);
    program.signal("SIGTERM");
    assert.deepEqual(await program.exit, { code: 0, signal: null }, program.stderr());
    assert.equal(eventsIn(program, "stopped").length, 2);
  });

  it("SIGHUP has each worker read its config anew", async () => {
    await using service = await startService();
    service.program.signal("SIGHUP");
    const reloads = async (): Promise<number> =>
      seriesOf(await service.get("/metrics"), "app_config_reloads_total", { outcome: "unchanged" });
    await until(async () => (await reloads()) === count, "each has read it", limitMs);
  });

  it("SIGKILL of the primary leaves no process behind: the workers finish what is under way, and stop in order", async () => {
    await using service = await startService();
    const workers = service.workers();
    assert.equal(workers.length, count);
    const slow = service.get("/slow");
    await until(
      async () => seriesOf(await service.get("/metrics"), "http_server_active_requests") === 1,
      "a request is under way",
      limitMs,
    );
    killNow(service.program.pid);
    await slow;
    await untilGone(() => listProcesses().filter(({ pid }) => workers.includes(pid)), limitMs);
    // what they wrote last may still be on its way to us
    await until(() => eventsIn(service.program, "stopped").length === count, "each worker has stopped", limitMs);
    await untilFree([service.port], limitMs);
  });

  it("a worker that hangs is killed when the time for the stop is up, and the exit code is 1", async () => {
    await using service = await startService({ PLINTH_LIFECYCLE_STOP_MS: "500" });
    const [hanging = 0] = service.workers();
    process.kill(hanging, "SIGSTOP");
    service.program.signal("SIGTERM");
    assert.deepEqual(await service.program.exit, { code: 1, signal: null });
    assert.match(
      service.program.stderr(),
      /^workers of working did not stop in order: worker \d did not end within 4500 ms and was killed$/m,
    );
    await untilGone(() => listProcesses().filter(({ pid }) => pid === hanging), limitMs);
  });
});

describe("workers that do not start", { concurrency: 2 }, () => {
  it("are tried a few times; then all end with exit code 1, and one message says why", async () => {
    const { code, stderr } = await run(main, [], { WORKERS: "2", PLINTH_HTTP_PORT: "0", TROUBLE: "start" });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^workers of working did not start: worker [12] failed to start 3 times in a row; at last it ended with exit code 1: working did not start: start of "trouble" .* failed: no such bucket.*; mend that, and start again$/m,
    );
  });

  it("name the port when that is taken", async () => {
    const [port = 0] = await findFreePorts(1);
    await using _ = await occupyPort(port);
    const { code, stderr } = await run(main, [], { WORKERS: "2", PLINTH_HTTP_PORT: String(port) });
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`^workers of working did not start: .* port ${port} on .* is in use by another`, "m"),
    );
  });

  it("are none when their number is no number", async () => {
    const { code, stderr } = await run(main, [], { WORKERS: "many" });
    assert.equal(code, 1);
    assert.match(stderr, /workers\.count must be a whole number from 1 to 1024, not NaN/);
  });
});

describe("a command for a main that runs workers", { concurrency: 2 }, () => {
  for (const command of [{ command: "graph" }, { command: "graph", start: true }, { command: "config" }]) {
    it(`is answered once, by no worker: ${JSON.stringify(command)}`, async () => {
      const { code, stdout, stderr } = await run(main, [], {
        PLINTH_COMMAND: JSON.stringify(command),
        PLINTH_HTTP_PORT: "0",
        PLINTH_LIFECYCLE_ANNOUNCE_DELAY_MS: "0",
      });
      assert.equal(code, 0, stderr);
      assert.equal(stdout.match(command.command === "graph" ? /^working: /gm : /^http\.port /gm)?.length, 1, stdout);
      assert.doesNotMatch(stdout, /worker ready/);
    });
  }
});
