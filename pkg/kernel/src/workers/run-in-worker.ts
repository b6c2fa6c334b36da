import cluster from "node:cluster";
import type { Life } from "../app/run.ts";
import type { ProcessHost } from "../app/runnable.ts";
import { maxToldLength } from "./messages.ts";
import { portOver } from "./primary-port.ts";

/**
 * Runs apps in a worker process: they end in order when the primary says so or has gone, and at once when it says that. The
 * primary hears when they are up and how they have ended.
 *
 * @param runToEnd - Runs them, and resolves with the exit code.
 */
export async function runInWorker(
  host: ProcessHost,
  { onReady }: Pick<Life, "onReady">,
  runToEnd: (host: ProcessHost, life: Life) => Promise<number>,
): Promise<number> {
  const port = portOver(process);
  const over = new AbortController();
  const atOnce = new AbortController();
  const { worker } = cluster;
  worker?.once("disconnect", () => {
    worker.exitedAfterDisconnect = true; // else Node ends the process without any order
    over.abort(new Error("the primary has gone"));
  });
  const endListening = port.listen({
    onMessage: (message) => {
      if (message.type === "stop") over.abort(new Error("the primary stops its workers"));
      if (message.type === "exit") atOnce.abort(message.code);
      if (message.type === "reload") process.emit("SIGHUP"); // for all who listen to it, as the signal itself
    },
    onGone: () => {},
  });
  let told = "";
  const stderr = {
    write(text: string): unknown {
      told = text.trimEnd().slice(0, maxToldLength);
      return host.stderr.write(text);
    },
  };
  const own: ProcessHost = {
    on: (event, listener) => host.on(event, listener),
    off: (event, listener) => host.off(event, listener),
    exit: (code) => host.exit(code),
    stderr,
  };
  const ready = async (): Promise<void> => {
    await port.send({ type: "ready" });
    await onReady?.();
  };
  const code = await runToEnd(own, { onReady: ready, over: over.signal, atOnce: atOnce.signal });
  await port.send({ type: "ended", code, told });
  endListening();
  // The channel would hold the process open.
  if (worker?.isConnected()) worker.disconnect();
  return code;
}
