import cluster from "node:cluster";
import { enveloped } from "./messages.ts";
import type { Handover } from "./shared-listeners.ts";
import { watchHandover } from "./untaken.ts";
import type { Fork, WorkerEnd } from "./worker-process.ts";
import { type WorkerIdentity, workerVariable } from "./identity.ts";

/**
 * Workers on `node:cluster`: each runs this process's main with its arguments and options of Node, and all that listen on one
 * port share it. This process accepts the connections and hands them out in turn, to workers that take them: one that hangs
 * is given one connection and no more.
 *
 * @param facts - What each worker is told beside its number.
 * @param handover - Hears what becomes of each connection.
 */
export function forkOnCluster(facts: Omit<WorkerIdentity, "worker">, handover: Handover): Fork {
  return (number, { onMessage, onEnd }) => {
    const identity: WorkerIdentity = { worker: number, ...facts };
    const worker = cluster.fork({ [workerVariable]: JSON.stringify(identity) });
    const { process: child } = worker;
    watchHandover(child, handover, () =>
      Object.values(cluster.workers ?? {}).some((other) => other !== worker && other?.isConnected()),
    );
    let isOver = false;
    const over = (end: WorkerEnd): void => {
      if (isOver) return;
      isOver = true;
      onEnd(end);
    };
    let isDisconnected = false;
    child.once("disconnect", () => (isDisconnected = true));
    worker.on("message", onMessage);
    // the process has ended, and all that it sent has been read
    child.once("close", (code, signal) => {
      // Node forgets to say so of one that was being handed a connection; without it the cluster goes on counting on the worker
      if (!isDisconnected) child.emit("disconnect");
      over({ code, signal });
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
