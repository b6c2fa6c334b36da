import cluster from "node:cluster";
import { z } from "zod";

/** Tells a process that it is a worker of ours; only cluster workers heed it. */
export const workerVariable = "PLINTH_WORKER";

const identitySchema = () =>
  z.object({
    /** From 1 on; one that takes the place of another has its number. */
    worker: z.int().min(1),
    /** How long the primary waits for the metrics of a worker, in milliseconds. */
    scrapeMs: z.number().min(1),
  });

/** What a worker process knows of itself. */
export type WorkerIdentity = z.infer<ReturnType<typeof identitySchema>>;

/** Undefined when this process is no worker of ours. */
export function workerIdentity(environment: Readonly<Record<string, string | undefined>>): WorkerIdentity | undefined {
  const text = environment[workerVariable];
  if (text === undefined || !cluster.isWorker) return undefined; // a process that a worker has started inherits the variable
  return identitySchema().parse(JSON.parse(text));
}
