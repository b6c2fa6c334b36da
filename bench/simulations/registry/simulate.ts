// One fleet of one size on one real agent: what its watchers see of its changes, how late, and what that costs.
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Pool } from "undici";
import { type ConsulAgent, startConsul } from "../../../scripts/servers/index.ts";
import { cpuSecondsOf } from "../../harness/cpu.ts";
import { percentile } from "../../harness/statistics.ts";
import { changeTag, epochMs, news, type News, type Orders, type Report, serviceName, watchedBy } from "./messages.ts";

export interface FleetSize {
  readonly services: number;
  readonly instances: number;
  readonly watchers: number;
  /** Services that each watcher watches. */
  readonly watched: number;
  /** Changes of instances each second. */
  readonly changesPerSecond: number;
}

export interface Outcome {
  readonly changes: number;
  /** Of all that every watcher should have seen, those that it did not. */
  readonly missed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly slowestMs: number;
  /** Answers to watches that the agent gave, for each second of changes. */
  readonly answersPerSecond: number;
  readonly failures: number;
  /** Share of one CPU. */
  readonly agentBusy: number;
  /** Of one watcher, in milliseconds of CPU each second. */
  readonly watcherCpuMs: number;
  /** Of one watcher, what its heap holds more than that of a process without any. */
  readonly watcherHeapKib: number;
  readonly agentRssMib: number;
}

const instancesPerMachine = 10;
/** Registrations under way at a time. */
const registering = 32;
/** After the last change. */
const graceMs = 3_000;

/** @param seconds - How long changes go on. */
export async function simulate(size: FleetSize, seconds: number): Promise<Outcome> {
  // The agent takes 200 connections of one address unless told otherwise: each blocking query holds one.
  const args = ["-hcl=limits { http_max_conns_per_client = 10000 }", "-log-level=warn"];
  await using consul = await startConsul({ args });
  const pool = new Pool(consul.address, { connections: registering });
  await using closing = new AsyncDisposableStack();
  closing.defer(() => pool.close());
  await registerAll(pool, size);
  await using watchers = startWatchers();
  const empty = await watchers.report();
  const { services, watchers: count, watched } = size;
  await watchers.begin({ address: consul.address, services, watchers: count, watched });
  await delay(1_000); // what the first answers left is cleared away
  const before = await watchers.report();
  const agentBefore = cpuSecondsOf([consul.pid]);
  const startedAtMs = performance.now();
  const sent = await change(pool, size, seconds);
  const changedForMs = performance.now() - startedAtMs;
  const agentAfter = cpuSecondsOf([consul.pid]);
  await delay(graceMs);
  const after = await watchers.report();
  return outcomeOf({ size, sent, changedForMs, empty, before, after, agentCpuS: agentAfter - agentBefore, consul });
}

interface Sent {
  readonly service: string;
  readonly id: string;
  readonly change: number;
  readonly atMs: number;
}

/** Changes one instance after the other, at the rate that is asked for. */
async function change(pool: Pool, size: FleetSize, seconds: number): Promise<readonly Sent[]> {
  const { services, instances, changesPerSecond } = size;
  const total = Math.round(changesPerSecond * seconds);
  const startedAtMs = performance.now();
  const sent: Sent[] = [];
  const pending: Promise<void>[] = [];
  for (let at = 0; at < total; at++) {
    const dueAtMs = startedAtMs + (at * 1_000) / changesPerSecond;
    await delay(Math.max(0, dueAtMs - performance.now()));
    // Coprime strides, so that neither a service nor an instance has its turns in a row.
    const number = (at * 7_919) % instances;
    const turn = at + 1;
    const service = serviceName(number % services);
    sent.push({ service, id: idOf(number), change: turn, atMs: epochMs() });
    pending.push(register(pool, number, services, turn));
  }
  await Promise.all(pending);
  return sent;
}

const idOf = (number: number): string => `instance-${number}`;

async function registerAll(pool: Pool, { services, instances }: FleetSize): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < instances) await register(pool, next++, services, 0);
  };
  await Promise.all(Array.from({ length: registering }, worker));
}

/** As the agent of the instance's own machine would tell the servers: here there is one agent, and it is not to hold them all itself. */
async function register(pool: Pool, number: number, services: number, change: number): Promise<void> {
  const id = idOf(number);
  const Node = `machine-${Math.floor(number / instancesPerMachine)}`;
  const port = 10_000 + (number % 50_000);
  const definition = {
    Node,
    Address: "127.0.0.1",
    Service: {
      ID: id,
      Service: serviceName(number % services),
      Address: "127.0.0.1",
      Port: port,
      Tags: [changeTag(change)],
      Meta: { "plinth-http-port": String(port), "plinth-version": "1.2.3", "plinth-zone": "zone-a" },
    },
    // As a registration of ours has them.
    Checks: ["alive", "ready"].map((what) => ({
      Node,
      CheckID: `${id}:${what}`,
      Name: what,
      ServiceID: id,
      Status: "passing",
    })),
  };
  const { statusCode, body } = await pool.request({
    method: "PUT",
    path: "/v1/catalog/register",
    body: JSON.stringify(definition),
  });
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`the agent answered ${statusCode}: ${text}`);
}

interface Watchers extends AsyncDisposable {
  /** Resolves when each knows all that it watches. */
  begin(given: Orders): Promise<void>;
  report(): Promise<Report>;
}

function startWatchers(): Watchers {
  const child: ChildProcess = fork(join(import.meta.dirname, "watchers.ts"), {
    execArgv: ["--conditions=plinth-source", "--expose-gc"],
  });
  const next = async <Type extends News["type"]>(type: Type): Promise<Extract<News, { type: Type }>> => {
    const messages: readonly unknown[] = await Promise.race([once(child, "message"), ended(child)]);
    const said = news.parse(messages[0]);
    if (!isOf(said, type)) throw new Error(`the watchers said ${said.type}, not ${type}`);
    return said;
  };
  return {
    async begin(given) {
      child.send(given);
      await next("knows");
    },
    async report() {
      child.send("report");
      return next("report");
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    },
  };
}

function isOf<Type extends News["type"]>(said: News, type: Type): said is Extract<News, { type: Type }> {
  return said.type === type;
}

async function ended(child: ChildProcess): Promise<never> {
  await once(child, "exit");
  throw new Error("the process of the watchers has ended");
}

interface Seen {
  readonly size: FleetSize;
  readonly sent: readonly Sent[];
  readonly changedForMs: number;
  readonly empty: Report;
  readonly before: Report;
  readonly after: Report;
  readonly agentCpuS: number;
  readonly consul: ConsulAgent;
}

function outcomeOf({ size, sent, changedForMs, empty, before, after, agentCpuS, consul }: Seen): Outcome {
  const sentAtMs = new Map(sent.map(({ id, change, atMs }) => [`${id} ${change}`, atMs]));
  const delays = after.sightings.flatMap(([id, number, atMs]) => {
    const from = sentAtMs.get(`${id} ${number}`);
    return from === undefined ? [] : [atMs - from];
  });
  delays.sort((a, b) => a - b);
  const seconds = changedForMs / 1_000;
  return {
    changes: sent.length,
    missed: expectedSightings(size, sent) - delays.length,
    p50Ms: percentile(delays, 0.5),
    p99Ms: percentile(delays, 0.99),
    slowestMs: delays.at(-1) ?? Number.NaN,
    answersPerSecond: (after.answers - before.answers) / seconds,
    failures: after.failures - before.failures,
    agentBusy: agentCpuS / seconds,
    watcherCpuMs: (after.cpuMs - before.cpuMs) / seconds / size.watchers,
    watcherHeapKib: (before.heapBytes - empty.heapBytes) / 1_024 / size.watchers,
    agentRssMib: rssOf(consul.pid) / 2 ** 20,
  };
}

/** Each change, by each watcher of its service. */
function expectedSightings({ services, watchers, watched }: FleetSize, sent: readonly Sent[]): number {
  const watching = new Map<string, number>();
  for (let watcher = 0; watcher < watchers; watcher++) {
    for (const service of watchedBy(watcher, { services, watched })) {
      watching.set(service, (watching.get(service) ?? 0) + 1);
    }
  }
  return sent.reduce((sum, { service }) => sum + (watching.get(service) ?? 0), 0);
}

function rssOf(pid: number): number {
  const [, pages = "0"] = readFileSync(`/proc/${pid}/statm`, "utf8").split(" ");
  return Number(pages) * pageBytes;
}

const pageBytes = 4_096;
