import type { Server } from "node:net";
import type { ErrorBus } from "@plinth/kernel";
import { TransportError } from "./errors.ts";

export interface WatchListenersOptions {
  /** What listens, for the error: `http server`. */
  readonly what: string;
  readonly host?: string;
  /** The port bound. */
  readonly port?: number;
  /** In their place, the Unix domain socket bound. */
  readonly path?: string;
  /** Told of what the listener fails at while it listens. */
  readonly errors: ErrorBus;
  /** Told once when it has died: `ERR_LISTEN_LOST`. Default: `errors` is told. */
  readonly onDied?: ((error: TransportError) => void) | undefined;
}

/**
 * Watches the listeners of one server. It has died when one of them closes, or emits an error while it no longer listens. An
 * error of one that still listens, such as failing to accept for want of file descriptors, passes: it is reported, and ends nothing.
 *
 * @param listeners - They listen by now. A name of a host may stand for several addresses, each with a listener.
 * @returns To be called before closing it: from then on its close is no death.
 */
export function watchListeners(listeners: readonly Server[], options: WatchListenersOptions): () => void {
  const { what, host = "", port, path, errors } = options;
  const report = (error: Error): void => void errors.report(error, { origin: "process" });
  const { onDied = report } = options;
  let isOver = false;
  const died = (how: string, cause?: Error): void => {
    if (isOver) return;
    isOver = true;
    const address = path ?? `${host.includes(":") ? `[${host}]` : host}:${port}`;
    const text = `the ${what} no longer listens on ${address}: ${how}; look for code that closes the server itself`;
    onDied(new TransportError("ERR_LISTEN_LOST", "unavailable", text, { cause }));
  };
  for (const listener of listeners) {
    listener.on("error", (error) => {
      if (isOver || listener.listening) report(error);
      else died(error.message, error);
    });
    listener.on("close", () => died("it was closed, and not by a stop of the app"));
  }
  return () => {
    isOver = true;
  };
}
