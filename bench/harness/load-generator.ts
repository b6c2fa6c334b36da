// The load generator: a program of its own, pinned beside the origin, that reads its plan from the file that it is told, and
// prints one JSON report on standard output.
//
// It is ours and not wrk because it needs nothing installed, checks the status and length of every reply, and reads the
// server's CPU account at the very edges of the window in which it counts. One core of it drives about 100 000 requests
// a second; where it saturates before the server does, CPU per request stays valid and throughput does not.
import { readFileSync } from "node:fs";
import { cpuSecondsOf, listProcesses, treeOf } from "./cpu.ts";
import { GrpcLoadSessions, GrpcLoadStream } from "./grpc-load-stream.ts";
import { LoadConnection } from "./load-connection.ts";
import { percentile } from "./statistics.ts";
import { parseLoadPlan, type Load, type LoadPlan, type LoadReport } from "./load-plan.ts";

const maxReasons = 5;

class LoadRun {
  readonly #plan: LoadPlan;
  readonly #connections: (LoadConnection | GrpcLoadStream)[] = [];
  #sessions: GrpcLoadSessions | undefined;
  readonly #reasons = new Set<string>();
  #errors = 0;
  #requests = 0;
  #latenciesMs = new Float64Array(65_536);

  constructor(plan: LoadPlan) {
    this.#plan = plan;
  }

  start(): void {
    const { load, port } = this.#plan;
    const events = {
      onReply: (status: number, bodyBytes: number, latencyMs: number) => this.#count(status, bodyBytes, latencyMs),
      onBroken: (reason: string) => this.#fail(reason),
    };
    if (load.protocol === "grpc") {
      const message = messageOf(load);
      this.#sessions = new GrpcLoadSessions(port, load.connections, events.onBroken);
      for (let n = 0; n < load.connections; n += 1)
        this.#connections.push(new GrpcLoadStream(this.#sessions.of(n), load.path, message, events));
      return;
    }
    const requests = (load.lines ?? [""]).map((line) => requestOf(load, port, line));
    let turn = 0;
    const next = (): Buffer => requests[turn++ % requests.length] ?? Buffer.alloc(0);
    const readBuffer = Buffer.alloc(65_536);
    for (let n = 0; n < load.connections; n += 1) {
      this.#connections.push(new LoadConnection(port, next, readBuffer, events));
    }
  }

  /** Forgets the warm-up, then counts for the length of the window. Errors of the warm-up stay. */
  async window(): Promise<LoadReport> {
    const pids = treeOf(this.#plan.serverPid, listProcesses());
    this.#requests = 0;
    const startedAtMs = performance.now();
    const cpuBefore = cpuSecondsOf(pids);
    await elapse(this.#plan.windowMs);
    const cpuSeconds = cpuSecondsOf(pids) - cpuBefore;
    const seconds = (performance.now() - startedAtMs) / 1_000;
    const requests = this.#requests;
    const stalled = this.#connections.filter(({ sentAtMs }) => sentAtMs < startedAtMs).length;
    if (stalled > 0) this.#fail(`${stalled} requests had no reply in the whole window`);
    const after = treeOf(this.#plan.serverPid, listProcesses());
    if (after.join() !== pids.join()) {
      this.#fail(`the server's processes changed from ${pids.join()} to ${after.join()}`);
    }
    const latencies = this.#latenciesMs.subarray(0, requests).toSorted();
    return {
      requests,
      seconds,
      cpuSeconds,
      p50Ms: percentile(latencies, 0.5),
      p99Ms: percentile(latencies, 0.99),
      errors: this.#errors,
      reasons: [...this.#reasons],
    };
  }

  stop(): void {
    for (const connection of this.#connections) connection.close();
    this.#sessions?.close();
  }

  #count(status: number, bodyBytes: number, latencyMs: number): void {
    const { load } = this.#plan;
    if (status !== load.status || bodyBytes !== load.bodyBytes) {
      this.#fail(`reply ${status} with ${bodyBytes} bytes, expected ${load.status} with ${load.bodyBytes}`);
    }
    if (this.#requests === this.#latenciesMs.length) {
      const larger = new Float64Array(this.#latenciesMs.length * 2);
      larger.set(this.#latenciesMs);
      this.#latenciesMs = larger;
    }
    this.#latenciesMs[this.#requests] = latencyMs;
    this.#requests += 1;
  }

  #fail(reason: string): void {
    this.#errors += 1;
    if (this.#reasons.size < maxReasons) this.#reasons.add(reason);
  }
}

/** The message of each call, with the prefix that tells its length. */
function messageOf({ body }: Load): Buffer {
  const bytes = Buffer.from(body?.base64 ?? "", "base64");
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** The bytes of one request. @param line - Of its head, besides the usual; empty for none. */
function requestOf({ path, body }: Load, port: number, line: string): Buffer {
  const bytes = Buffer.from(body?.base64 ?? "", "base64");
  const ofBody = body ? `Content-Type: ${body.contentType}\r\nContent-Length: ${bytes.length}\r\n` : "";
  const accept = body?.contentType ?? "application/json";
  const head =
    `${body ? "POST" : "GET"} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: ${accept}\r\n` +
    `User-Agent: plinth-bench\r\n${line === "" ? "" : `${line}\r\n`}${ofBody}\r\n`;
  return Buffer.concat([Buffer.from(head, "latin1"), bytes]);
}

async function elapse(ms: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  setTimeout(resolve, ms, undefined);
  await promise;
}

const plan = parseLoadPlan(readFileSync(process.argv[2] ?? "", "utf8"));
const run = new LoadRun(plan);
run.start();
await elapse(plan.warmupMs);
const report = await run.window();
run.stop();
process.stdout.write(`${JSON.stringify(report)}\n`);
