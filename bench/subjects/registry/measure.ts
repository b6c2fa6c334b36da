// What a watch of one service costs, and what it does not see: asked of any client, through a door that counts its requests.
import { createServer, request as forward } from "node:http";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { type ConsulAgent, startConsul } from "../../../scripts/servers/index.ts";

/** A client's watch. */
export interface Watch {
  /** The tags of the instance that is known, read as a request would read it. */
  read(): readonly string[];
  close(): Promise<void>;
}

/** @param waitMs - How long the agent may hold a quiet query. Absent: what the client takes by itself. */
export type OpenWatch = (where: {
  readonly host: string;
  readonly port: number;
  readonly service: string;
  readonly waitMs?: number;
}) => Watch;

const service = "watched";
const limitMs = 20_000;
/** So many reads are timed together. */
const batch = 10_000;
const idleWaitMs = 1_000;
const changesPerSecond = 50;
/** After a restart of the agent, and how far apart. */
const laterChanges = 8;
const laterEveryMs = 1_000;
/** A change that is not seen so long after it was made, nor any later one, was missed by whoever acted on it. */
const lateMs = 2_500;

/** Measures and prints the figures. The length of its window, in seconds, is this program's argument. */
export async function measureWatch(open: OpenWatch): Promise<void> {
  const seconds = Number(process.argv[2]);
  await using consul = await startConsul();
  await using door = await countingDoor(new URL(consul.address).port);
  const where = { host: "127.0.0.1", port: door.port, service };
  let number = 0;
  const change = async (): Promise<number> => {
    await setTags(consul, [tagOf(++number)]);
    return number;
  };
  await change();

  const quiet = open({ ...where, waitMs: idleWaitMs });
  await untilSeen(quiet, number);
  const [idle, read] = [
    await requestsOf(door, () => delay((seconds * 1_000) / 3)),
    await readCost(quiet, seconds / 6, door),
  ];
  await quiet.close();

  const watch = open(where);
  await untilSeen(watch, number);
  const churnS = seconds / 3;
  const churned = number;
  const churn = await requestsOf(door, async () => {
    const startedAtMs = performance.now();
    while (performance.now() < startedAtMs + churnS * 1_000) {
      await change();
      await delay(Math.max(0, startedAtMs + ((number - churned) * 1_000) / changesPerSecond - performance.now()));
    }
  });
  const changes = number - churned;
  await untilSeen(watch, number);

  await consul.restart({ wipe: true });
  let missed = 0;
  const checks: Promise<void>[] = [];
  for (let at = 0; at < laterChanges; at++) {
    const made = await change();
    checks.push(delay(lateMs).then(() => void (missed += numberOf(watch) >= made ? 0 : 1)));
    await delay(laterEveryMs);
  }
  await Promise.all(checks);
  await watch.close();
  const reading = {
    readNanos: read.nanos,
    readRequests: read.requests,
    idlePerWait: idle / ((seconds * 1_000) / 3 / idleWaitMs),
    churnPerChange: churn / changes,
    missed,
  };
  process.stdout.write(JSON.stringify(reading));
}

/** Of one read, and the requests that many of them sent. */
async function readCost(
  watch: Watch,
  seconds: number,
  door: Door,
): Promise<{ readonly nanos: number; readonly requests: number }> {
  const untilMs = performance.now() + seconds * 1_000;
  let best = Infinity;
  let sum = 0;
  // In one turn of the event loop: what is sent meanwhile, the reads have sent.
  const before = door.requests();
  while (performance.now() < untilMs) {
    const startedAtMs = performance.now();
    for (let at = 0; at < batch; at++) sum += watch.read().length;
    best = Math.min(best, (performance.now() - startedAtMs) / batch);
  }
  if (sum === 0) throw new Error("nothing was read");
  return { nanos: best * 1e6, requests: door.requests() - before };
}

const tagOf = (number: number): string => `change-${number}`;
const numberOf = (watch: Watch): number => Number(watch.read()[0]?.slice("change-".length) ?? 0);

async function setTags(consul: ConsulAgent, tags: readonly string[]): Promise<void> {
  const body = JSON.stringify({ Name: service, ID: service, Address: "127.0.0.1", Port: 80, Tags: tags });
  const response = await fetch(`${consul.address}/v1/agent/service/register`, { method: "PUT", body });
  if (response.status !== 200) throw new Error(`the agent answered ${response.status}: ${await response.text()}`);
  await response.body?.cancel();
}

async function untilSeen(watch: Watch, number: number): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (numberOf(watch) < number) {
    if (performance.now() > deadlineMs) throw new Error(`change ${number} was not seen within ${limitMs} ms`);
    await delay(5);
  }
}

interface Door extends AsyncDisposable {
  readonly port: number;
  requests(): number;
}

async function requestsOf(door: Door, meanwhile: () => Promise<void>): Promise<number> {
  const before = door.requests();
  await meanwhile();
  return door.requests() - before;
}

/** In front of the agent, so that every client's requests are counted alike. */
async function countingDoor(port: string): Promise<Door> {
  let requests = 0;
  const door = createServer((incoming, outgoing) => {
    requests++;
    const { method, url, headers } = incoming;
    const sent = forward({ host: "127.0.0.1", port, method, path: url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
      answer.on("error", () => outgoing.destroy());
    });
    sent.on("error", () => outgoing.destroy()); // as the agent's own socket would end
    outgoing.on("close", () => sent.destroy());
    incoming.pipe(sent);
  });
  door.listen(0, "127.0.0.1");
  await once(door, "listening");
  const address = door.address();
  if (typeof address !== "object" || address === null) throw new Error("the door has no port");
  return {
    port: address.port,
    requests: () => requests,
    async [Symbol.asyncDispose]() {
      door.close();
      door.closeAllConnections();
      if (door.listening) await once(door, "close");
    },
  };
}
