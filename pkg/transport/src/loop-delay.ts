import { type Clock, clock, defineModule, provider, systemClock, token } from "@plinth/kernel";
import { TransportError } from "./errors.ts";

/** How late the event loop runs: how long what is due has to wait for what runs. */
export interface LoopDelay {
  /** The lateness of the last sample, or of the one that is due and has not come: the larger, in milliseconds. */
  nowMs(): number;
  /** Ends the sampling. Safe to call twice. */
  close(): void;
}

/** How often it is looked at, in milliseconds: so long after the loop keeps up again, it counts as doing so. */
const sampleMs = 50;

/** One timer for all servers of an app. Asking costs a look at the clock. */
export function watchLoopDelay({ clock: time = systemClock }: { readonly clock?: Clock } = {}): LoopDelay {
  let dueAtMs = 0;
  let lastMs = 0;
  const wait = () => {
    dueAtMs = time.monotonicMs() + sampleMs;
    return time.schedule(sampleMs, sample, { keepAlive: false });
  };
  const lateMs = (): number => Math.max(0, time.monotonicMs() - dueAtMs);
  const sample = (): void => {
    lastMs = lateMs();
    timer = wait();
  };
  let timer = wait();
  return {
    nowMs: () => Math.max(lastMs, lateMs()),
    close: () => timer.cancel(),
  };
}

/** The event loop's delay, measured once for all servers of the app. */
export const loopDelay = token("transport.loop-delay").of<LoopDelay>();

/** Part of the HTTP and gRPC modules. */
export const loopDelayModule = defineModule("transport", [
  provider({
    provides: loopDelay,
    needs: { clock },
    create: watchLoopDelay,
    stop: (delay) => delay.close(),
  }),
]);

/** What a request is refused with while the loop runs late. Nobody is told: the refusals are counted. */
export function overloaded(): TransportError {
  return new TransportError("ERR_OVERLOADED", "unavailable", "the server has too much to do; try again in a second");
}
