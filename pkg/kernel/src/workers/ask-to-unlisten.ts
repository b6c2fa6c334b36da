import type { Server } from "node:net";
import { workerIdentity } from "./identity.ts";
import type { LastConnectionsOptions } from "./last-connections.ts";
import { placeOf } from "./place.ts";
import { portOver, type PrimaryPort } from "./primary-port.ts";

/** A primary that hangs holds up no stop for longer than this, in milliseconds. */
const limitMs = 5_000;

let lastId = 0;

/** Tells the primary that a server of this worker is about to close, and waits until it may. Never rejects. */
export async function askToUnlisten(
  server: Server,
  { clock, signal }: LastConnectionsOptions,
  port: PrimaryPort | undefined = workerIdentity(process.env) && portOver(process),
): Promise<void> {
  const at = placeOf(server);
  if (port?.isOpen !== true || at === undefined || signal.aborted) return;
  const id = ++lastId;
  const { promise, resolve } = Promise.withResolvers<void>();
  const onEnd = (): void => resolve();
  const endListening = port.listen({
    onMessage: (message) => {
      if (message.type === "unlistened" && message.id === id) resolve();
    },
    onGone: onEnd,
  });
  const limit = clock.schedule(limitMs, onEnd);
  signal.addEventListener("abort", onEnd, { once: true });
  void port.send({ type: "unlisten", id, at });
  await promise;
  signal.removeEventListener("abort", onEnd);
  limit.cancel();
  endListening();
}
