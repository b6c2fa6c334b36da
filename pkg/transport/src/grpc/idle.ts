import type { Clock } from "@plinth/kernel";
import type { CallCore } from "./calls.ts";
import { idleError } from "./errors.ts";
import type { Wire } from "./wire.ts";

/** Looks in one idle time: a call is ended after at least that, and a quarter more at most. */
const looks = 4;

/**
 * Ends calls whose callers stand still: that leave replies unread, or requests unsent that the handler or the server waits for. One at
 * whose replies its handler works is left alone, and so is one whose handler does not ask for the next request.
 *
 * @param idleMs - Milliseconds; 0 ends none.
 * @returns Ends the watch.
 */
export function endIdleCalls(core: CallCore, clock: Clock, idleMs: number): () => void {
  if (idleMs === 0) return () => {};
  const look = (): void => {
    timer = wait();
    for (const wire of core.open) {
      wire.looksIdle = wire.hasMoved ? 0 : wire.looksIdle + 1;
      wire.hasMoved = false;
      if (wire.looksIdle >= looks) end(wire);
    }
  };
  const end = (wire: Wire): void => {
    const { awaits } = wire;
    if (awaits === undefined) return;
    core.stop(wire, idleError(awaits, idleMs));
    // a status would wait behind the replies that nobody reads
    if (awaits === "reader") wire.reset();
  };
  const wait = () => clock.schedule(idleMs / looks, look, { keepAlive: false });
  let timer = wait();
  return () => timer.cancel();
}
