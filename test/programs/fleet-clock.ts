// The clock of a program of the fleet: the system's, or one that `CLOCK_SCRIPT` warps.
import { type Clock, systemClock } from "@plinth/kernel";
import { createWarpedClock, warpAtSignals } from "../support/warped-clock.ts";

export function clockOfFleet(): Clock {
  const { CLOCK_SCRIPT = "" } = process.env;
  if (CLOCK_SCRIPT === "") return systemClock;
  const clock = createWarpedClock();
  warpAtSignals(clock, CLOCK_SCRIPT);
  return clock;
}
