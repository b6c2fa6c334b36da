// The process of the watchers: so many registries, as if each were an app of its own. Forked by the simulation; ends with it.
import { createConsulRegistry, type Registry } from "@plinth/registry";
import { changeOf, epochMs, type News, orders, type Orders, watchedBy } from "./messages.ts";

let answers = 0;
let failures = 0;
let sightings: [string, number, number][] = [];

const tell = (what: News): void => void process.send?.(what);

/** Notes each change of an instance once, when it is first seen. */
async function watch(registry: Registry, service: string): Promise<void> {
  const seen = new Map<string, number>();
  for await (const { instances } of registry.watch(service)) {
    const atMs = epochMs();
    for (const { id, tags } of instances) {
      const change = changeOf(tags);
      if ((seen.get(id) ?? 0) >= change) continue;
      seen.set(id, change);
      sightings.push([id, change, atMs]);
    }
  }
}

async function begin(given: Orders): Promise<void> {
  const { address, watchers } = given;
  const known: Promise<unknown>[] = [];
  for (let number = 0; number < watchers; number++) {
    const registry = createConsulRegistry({
      address,
      onEvent: (event) => {
        if (event.type !== "request_ended" || event.operation !== "watch") return;
        if (event.outcome === "ok") answers++;
        else failures++;
      },
    });
    for (const service of watchedBy(number, given)) {
      void watch(registry, service);
      known.push(registry.follow(service).ready);
    }
  }
  await Promise.all(known);
  tell({ type: "knows" });
}

/** What has come since the last report. */
function report(): void {
  globalThis.gc?.();
  const { user, system } = process.cpuUsage();
  const { rss: rssBytes, heapUsed: heapBytes } = process.memoryUsage();
  tell({ type: "report", sightings, answers, failures, cpuMs: (user + system) / 1_000, rssBytes, heapBytes });
  sightings = [];
}

process.on("message", (message) => {
  if (message === "report") report();
  else void begin(orders.parse(message));
});
process.on("disconnect", () => process.exit());
