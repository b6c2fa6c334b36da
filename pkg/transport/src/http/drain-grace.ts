import type { Clock, Scheduled } from "@plinth/kernel";

/** When a server drains, a caller whose request may be on its way gets this long for it. */
export const drainGraceMs = 500;

const turns = 10;

/**
 * Runs `task` once when {@link drainGraceMs} are over, and what has arrived by then has been read. They are counted in turns of
 * the event loop, so that a time in which the process stood still counts as one of them. The process does not wait for it.
 */
export function afterDrainGrace(clock: Clock, task: () => void): Scheduled {
  let isCancelled = false;
  let timer: Scheduled | undefined;
  const wait = (left: number): void => {
    const onTurn = (): void => {
      if (isCancelled) return;
      if (left === 1) task();
      else wait(left - 1);
    };
    // Where the event loop runs late, a timer comes before what has arrived meanwhile is read.
    timer = clock.schedule(drainGraceMs / turns, () => void setImmediate(onTurn), { keepAlive: false });
  };
  wait(turns);
  return {
    cancel() {
      isCancelled = true;
      timer?.cancel();
    },
  };
}
