// The CPU that a statement and a transaction cost this process, and how long tasks wait for a connection.
import { median, percentile } from "../../harness/statistics.ts";
import { connections, keys } from "./open.ts";

/** What each row does in its own way. */
export interface Client {
  /** One row of `notes` by its key. */
  select(id: number): Promise<string>;
  /** Inserts into `moves`, updates the note, deletes what was inserted. */
  transaction(id: number): Promise<void>;
  /** Keeps a connection for a millisecond. */
  hold(): Promise<void>;
}

const tasks = 2 * connections;
const waitingTasks = 4 * connections;
const batchMs = 200;

/** Measures for as many seconds as the bench says, and prints the figures. */
export async function measureDatabase(client: Client): Promise<void> {
  const ms = Number(process.argv[2]) * 1_000;
  const select = await cpuOf(async (id) => {
    const text = await client.select(id);
    if (text !== `note ${id}`) throw new Error(`the row ${id} has the text ${text}`);
  }, ms * 0.4);
  const transaction = await cpuOf((id) => client.transaction(id), ms * 0.4);
  const waits = await waitsOf(() => client.hold(), ms * 0.2);
  const waitMs = percentile(waits, 0.5);
  const figures = {
    selectMicros: select,
    transactionMicros: transaction,
    waitMs,
    waitSpread: percentile(waits, 0.99) / waitMs,
  };
  process.stdout.write(JSON.stringify(figures));
}

/** Microseconds of CPU for one call, the median of batches, after a quarter of the time in which all is compiled. */
async function cpuOf(operation: (id: number) => Promise<void>, ms: number): Promise<number> {
  const batches: number[] = [];
  const from = performance.now();
  const until = from + ms;
  let next = 0;
  let calls = 0;
  const work = async (): Promise<void> => {
    while (performance.now() < until) {
      next = (next * 7 + 13) % keys;
      await operation(next + 1);
      calls += 1;
    }
  };
  const running = Array.from({ length: tasks }, work);
  let before = process.cpuUsage();
  let callsBefore = 0;
  while (performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, batchMs));
    const { user, system } = process.cpuUsage(before);
    if (performance.now() > from + ms / 4) batches.push((user + system) / (calls - callsBefore));
    before = process.cpuUsage();
    callsBefore = calls;
  }
  await Promise.all(running);
  return median(batches);
}

/** How long a task has to wait and hold, in milliseconds, ascending. */
async function waitsOf(operation: () => Promise<void>, ms: number): Promise<readonly number[]> {
  const from = performance.now();
  const waits: number[] = [];
  const work = async (): Promise<void> => {
    while (performance.now() < from + ms) {
      const startedAtMs = performance.now();
      await operation();
      if (startedAtMs > from + ms / 4) waits.push(performance.now() - startedAtMs);
    }
  };
  await Promise.all(Array.from({ length: waitingTasks }, work));
  return waits.toSorted((a, b) => a - b);
}
