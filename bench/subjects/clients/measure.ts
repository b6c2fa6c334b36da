// The CPU that one call of the greeter costs the process that makes it.
import { cpuOf } from "../cpu-cost.ts";
import { greetingOf } from "../greeting.ts";

const tasks = 32;
const name = "Ada Lovelace";

/** Measures for as many seconds as the bench says, and prints the figures. */
export async function measureCalls(greet: (name: string) => Promise<string>): Promise<void> {
  const call = async (): Promise<void> => {
    const message = await greet(name);
    if (message !== greetingOf(name)) throw new Error(`the greeter said ${message}`);
  };
  const ms = Number(process.argv[2]) * 1_000;
  process.stdout.write(JSON.stringify({ callMicros: await cpuOf(call, { ms, tasks }) }));
}
