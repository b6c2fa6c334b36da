// The CPU that a statement and a transaction cost this process, and how long tasks wait for a connection.
import { percentile } from "../../harness/statistics.ts";
import { cpuOf } from "../cpu-cost.ts";
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

/** Measures for as many seconds as the bench says, and prints the figures. */
export async function measureDatabase(client: Client): Promise<void> {
  const ms = Number(process.argv[2]) * 1_000;
  const readOne = async (call: number): Promise<void> => {
    const id = keyOf(call);
    const text = await client.select(id);
    if (text !== `note ${id}`) throw new Error(`the row ${id} has the text ${text}`);
  };
  const select = await cpuOf(readOne, { ms: ms * 0.4, tasks });
  const transaction = await cpuOf((call) => client.transaction(keyOf(call)), { ms: ms * 0.4, tasks });
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

/** All keys, one after the other, in no order. */
function keyOf(call: number): number {
  return ((call * 7_919) % keys) + 1;
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
