import cluster from "node:cluster";
import type { Life } from "../app/run.ts";
import type { ProcessHost, Runnable } from "../app/runnable.ts";
import { systemClock } from "../clock.ts";
import { openLogger } from "../logger/pino.ts";
import { forkOnCluster } from "./cluster-fork.ts";
import { WorkersError } from "./errors.ts";
import { workerIdentity } from "./identity.ts";
import { MetricsHub } from "./metrics-hub.ts";
import type { FilledWorkersOptions } from "./options.ts";
import { runInWorker } from "./run-in-worker.ts";
import { SharedListeners } from "./shared-listeners.ts";
import { Supervisor } from "./supervisor.ts";
import { Team } from "./team.ts";
import { WorkersMetrics } from "./workers-metrics.ts";

/** Runs `apps` to their end in this process, and resolves with the exit code. */
export type RunToEnd = (apps: readonly Runnable[], host: ProcessHost, life: Life) => Promise<number>;

/** A worker runs the main from its beginning: were there a second set of workers, each would run the apps of the first. */
let hasRun = false;

/**
 * In the first process, the primary, starts workers, each of which runs this main again, and keeps them running until it is told to stop.
 * In a worker runs the apps themselves.
 *
 * @returns The exit code of this process.
 * @throws {@link WorkersError} `ERR_WORKERS_STATE` in a worker of somebody else's, and the second time.
 */
export async function runWorkers(
  options: FilledWorkersOptions,
  apps: readonly Runnable[],
  host: ProcessHost,
  { onReady, runToEnd }: Pick<Life, "onReady"> & { readonly runToEnd: RunToEnd },
): Promise<number> {
  const isOurs = workerIdentity(process.env) !== undefined;
  if (cluster.isWorker && !isOurs) {
    const what = "this process is a worker of another program's cluster already; let one of the two start workers";
    throw new WorkersError("ERR_WORKERS_STATE", "failed_precondition", what);
  }
  if (hasRun) {
    const what = "a main runs workers once; give all apps to one runApps, which runs them in each worker";
    throw new WorkersError("ERR_WORKERS_STATE", "failed_precondition", what);
  }
  hasRun = true;
  if (isOurs) return runInWorker(host, { onReady }, (own, life) => runToEnd(apps, own, life));
  return supervise(options, apps, host, runToEnd);
}

async function supervise(
  { count, maxFailedStarts, scrapeMs, primary }: FilledWorkersOptions,
  apps: readonly Runnable[],
  host: ProcessHost,
  runToEnd: RunToEnd,
): Promise<number> {
  const clock = systemClock;
  const names = apps.map(({ name }) => name).join(", ");
  const log = openLogger({ fields: { service: names }, format: logFormat() }).named("workers");
  const own = new WorkersMetrics(() => supervisor.slots);
  const team = new Team(count, () => supervisor.slots);
  const hub = new MetricsHub({
    clock,
    scrapeMs,
    log,
    own: async (missing) => team.withMetrics(await own.snapshot(missing)),
  });
  const listeners = new SharedListeners();
  const supervisor = new Supervisor({
    name: `workers of ${names}`,
    count,
    maxFailedStarts,
    fork: forkOnCluster({ scrapeMs }, listeners),
    clock,
    random: Math.random,
    log,
    onMessage: (worker, message) => {
      hub.receive(worker, message);
      team.receive(worker, message);
    },
    onEnd: (worker) => {
      hub.leave(worker);
      team.leave(worker);
    },
    onRestart: (reason) => own.countRestart(reason),
    unlisten: (place) => listeners.end(place),
  });
  let isEndingNow = false;
  const exit = (code: number): void => {
    if (isEndingNow) supervisor.killAll();
    if (isEndingNow) return host.exit(code);
    isEndingNow = true;
    void supervisor.endNow(code).then(() => host.exit(code));
  };
  const ending: ProcessHost = {
    on: (event, listener) => host.on(event, listener),
    off: (event, listener) => host.off(event, listener),
    exit,
    stderr: host.stderr,
  };
  const onReload = (): void => supervisor.reload();
  host.on("SIGHUP", onReload);
  try {
    const beside = primary?.(team);
    return await runToEnd(beside ? [beside, supervisor] : [supervisor], ending, { onReady: undefined });
  } finally {
    host.off("SIGHUP", onReload);
    listeners.close();
  }
}

/** The config is read by the workers alone. */
function logFormat(): "auto" | "json" | "pretty" {
  const given = process.env.PLINTH_LOG_FORMAT;
  return given === "json" || given === "pretty" ? given : "auto";
}
