// Simulation: what does a fleet of 500 services with 5 000 instances cost its agent and those that watch it, and how does that grow?
//
// A real Consul agent on this machine holds all instances, registered as ours are. 100 watchers, each a registry of its own in one
// process, watch 10 services each, while 50 instances a second change a tag. Then each number is doubled by itself, and all together.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describeMachine } from "../harness/machine.ts";
import { toTable } from "../harness/table.ts";
import { type FleetSize, type Outcome, simulate } from "./registry/simulate.ts";

const base: FleetSize = { services: 500, instances: 5_000, watchers: 100, watched: 10, changesPerSecond: 50 };

const doubled = (...keys: readonly (keyof FleetSize)[]): FleetSize => ({
  ...base,
  ...Object.fromEntries(keys.map((key) => [key, base[key] * 2])),
});

const fleets: readonly (readonly [name: string, size: FleetSize])[] = [
  ["the fleet", base],
  ["twice the services, as many instances each", doubled("services", "instances")],
  ["twice the instances of each service", doubled("instances")],
  ["twice the watchers", doubled("watchers")],
  ["twice the services that each watches", doubled("watched")],
  ["twice the changes", doubled("changesPerSecond")],
  ["all of it twice", doubled("services", "instances", "watchers", "changesPerSecond")],
];

const columns: readonly (readonly [title: string, read: (outcome: Outcome) => string])[] = [
  ["seen p50 ms", ({ p50Ms }) => p50Ms.toFixed(0)],
  ["p99 ms", ({ p99Ms }) => p99Ms.toFixed(0)],
  ["missed", ({ missed }) => String(missed)],
  ["answers/s", ({ answersPerSecond }) => answersPerSecond.toFixed(0)],
  ["agent CPU", ({ agentBusy }) => `${(agentBusy * 100).toFixed(0)} %`],
  ["agent MiB", ({ agentRssMib }) => agentRssMib.toFixed(0)],
  ["watcher CPU ms/s", ({ watcherCpuMs }) => watcherCpuMs.toFixed(2)],
  ["watcher heap KiB", ({ watcherHeapKib }) => watcherHeapKib.toFixed(0)],
];

export interface SimulationOptions {
  readonly root: string;
  readonly resultsDirectory: string;
  /** How long the changes of each fleet go on. Default 10. */
  readonly seconds?: number | undefined;
}

/** Runs it, prints its table and writes it into `registry-simulation.md` and `.json`. @returns whether every change was seen by all who watch. */
export async function simulateRegistry({ root, resultsDirectory, seconds = 10 }: SimulationOptions): Promise<boolean> {
  const machine = await describeMachine(root);
  const outcomes: { readonly name: string; readonly size: FleetSize; readonly outcome: Outcome }[] = [];
  for (const [name, size] of fleets) {
    process.stderr.write(`${name}…\n`);
    outcomes.push({ name, size, outcome: await simulate(size, seconds) });
  }
  const table = toTable(
    [["fleet", "left"], ...columns.map(([title]) => [title, "right"] as const)],
    outcomes.map(({ name, outcome }) => [name, ...columns.map(([, read]) => read(outcome))]),
  );
  const text = `# registry-simulation

What does a fleet cost its agent and those that watch it, and how does that grow?

${table}

The fleet: ${base.services} services, ${base.instances} instances, ${base.watchers} watchers of ${base.watched} services each, ${base.changesPerSecond} changes of an instance a second for ${seconds} s, on one Consul agent in development mode.
Seen: from the request that changes an instance to the watcher that has the new set. Agent CPU is of one processor; CPU and heap of a watcher are those of
the process that runs all of them, divided, what it takes without any left out of the heap.
Node ${machine.node}, ${machine.cpu}, ${machine.cores} cores, ${machine.system}, load average ${machine.loadAverage} at the start.
Commit ${machine.commit}${machine.dirty ? " with changes" : ""}, ${machine.date}.
`;
  process.stdout.write(`${text}\n`);
  await mkdir(resultsDirectory, { recursive: true });
  await writeFile(join(resultsDirectory, "registry-simulation.md"), text);
  await writeFile(
    join(resultsDirectory, "registry-simulation.json"),
    `${JSON.stringify({ machine, seconds, fleets: outcomes }, null, 2)}\n`,
  );
  return outcomes.every(({ outcome }) => outcome.missed === 0);
}
