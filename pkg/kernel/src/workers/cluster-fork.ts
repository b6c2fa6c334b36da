import cluster from "node:cluster";
import { enveloped } from "./messages.ts";
import type { Fork, WorkerEnd } from "./worker-process.ts";
import { type WorkerIdentity, workerVariable } from "./identity.ts";

/**
 * Workers on `node:cluster`: each runs this process's main with its arguments and options of Node, and all that listen on one
 * port share it. This process accepts the connections and hands them out in turn, to workers that take them: one that hangs
 * is given one connection and no more.
 *
 * @param facts - What each worker is told beside its number.
 */
export function forkOnCluster(facts: Omit<WorkerIdentity, "worker">): Fork {
  return (number, { onMessage, onEnd }) => {
    const identity: WorkerIdentity = { worker: number, ...facts };
    const worker = cluster.fork({ [workerVariable]: JSON.stringify(identity) });
    const { process: child } = worker;
    let isOver = false;
    const over = (end: WorkerEnd): void => {
      if (isOver) return;
      isOver = true;
      onEnd(end);
    };
    worker.on("message", onMessage);
    worker.on("exit", (code, signal) => {
      const end = { code, signal };
      // what it sent may still be on its way
      if (child.connected) child.once("disconnect", () => over(end));
      else over(end);
    });
    worker.on("error", (error) => {
      // else the channel has failed because it ends, which is told by itself
      if (child.pid === undefined) over({ code: null, signal: null, error });
    });
    return {
      pid: child.pid,
      send: (message) => {
        if (child.connected) child.send(enveloped(message), undefined, undefined, () => {});
      },
      kill: () => void child.kill("SIGKILL"),
    };
  };
}
