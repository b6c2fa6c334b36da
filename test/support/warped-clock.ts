// A clock of which a test makes ten minutes pass in ten seconds, or that somebody sets while an app runs.
import { type Clock, systemClock } from "@plinth/kernel";

export interface WarpedClock extends Clock {
  /** From now on so many seconds pass in one. What is already waited for comes when it would have. */
  setRate(rate: number): void;
  /** Sets the time of day forward, or back. */
  step(byMs: number): void;
}

export function createWarpedClock(): WarpedClock {
  let rate = 1;
  let stepMs = 0;
  let base = { realMs: systemClock.monotonicMs(), ownMs: systemClock.monotonicMs() };
  const monotonicMs = (): number => base.ownMs + (systemClock.monotonicMs() - base.realMs) * rate;
  const startedAtMs = systemClock.now() - monotonicMs();
  return {
    now: () => startedAtMs + monotonicMs() + stepMs,
    monotonicMs,
    schedule: (delayMs, task, options) => systemClock.schedule(delayMs / rate, task, options),
    setRate(next) {
      base = { realMs: systemClock.monotonicMs(), ownMs: monotonicMs() };
      rate = next;
    },
    step: (byMs) => void (stepMs += byMs),
  };
}

/**
 * Does the next of `script` at each SIGUSR2, and prints it: `rate 60, rate 1` or `step 300000, step -600000`.
 * @throws When a word of it is another.
 */
export function warpAtSignals(clock: WarpedClock, script: string): void {
  const turns = script.split(",").map((turn) => {
    const [, what, by] = /^ *(rate|step) (-?\d+) *$/.exec(turn) ?? [];
    if (what === undefined) throw new Error(`"${turn}" is neither a rate nor a step`);
    return () => {
      if (what === "rate") clock.setRate(Number(by));
      else clock.step(Number(by));
      process.stdout.write(`clock:${turn}\n`);
    };
  });
  process.on("SIGUSR2", () => turns.shift()?.());
}
