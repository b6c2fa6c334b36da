import type { Server } from "node:net";

/** Events of connections and requests: what their listeners throw must not end the process. */
const guarded: ReadonlySet<string | symbol> = new Set([
  "request",
  "checkContinue",
  "checkExpectation",
  "upgrade",
  "connect",
  "clientError",
  "connection",
]);

/**
 * Puts a recovery around all that listens to an HTTP server, now or later: the outermost layer.
 * @param onThrown - Told what a listener threw, and what the event was told with: request and response, or a socket.
 */
export function guardEvents(server: Server, onThrown: (thrown: unknown, args: readonly unknown[]) => void): void {
  const emit = server.emit.bind(server);
  const emitGuarded = (event: string | symbol, ...args: unknown[]): boolean => {
    if (!guarded.has(event)) return emit(event, ...args);
    try {
      return emit(event, ...args);
    } catch (thrown) {
      onThrown(thrown, args);
      return true;
    }
  };
  Reflect.set(server, "emit", emitGuarded);
}
