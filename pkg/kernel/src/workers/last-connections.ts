import type { Server } from "node:net";
import type { Clock } from "../clock.ts";

export interface LastConnectionsOptions {
  readonly clock: Clock;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

/**
 * To be called, and waited for, before a server is closed that several [workers](../../README.md#workers) share. When all of them
 * stop, the primary then accepts nothing more for its port, and hands out what it has accepted already: until this resolves, new
 * connections still come. When only this worker stops, the others have them. It waits 5 seconds at most, and never rejects.
 *
 * @returns Undefined in a process that is no worker, and when there is nothing to wait for.
 */
export function takeLastConnections(
  server: Server,
  { clock, signal }: LastConnectionsOptions,
): Promise<void> | undefined {
  if (process.env.PLINTH_WORKER === undefined || signal.aborted || !server.listening) return undefined;
  return ask(server, { clock, signal });
}

async function ask(server: Server, options: LastConnectionsOptions): Promise<void> {
  const { askToUnlisten } = await import("./ask-to-unlisten.ts"); // which no other process needs
  await askToUnlisten(server, options);
}
