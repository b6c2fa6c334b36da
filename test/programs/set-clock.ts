// Read ahead of a program: at each SIGUSR2 the time of day that the whole of it sees is set as CLOCK_SCRIPT says.
import { createWarpedClock, warpAtSignals } from "../support/warped-clock.ts";

const clock = createWarpedClock();
Date.now = () => Math.floor(clock.now());
warpAtSignals(clock, process.env["CLOCK_SCRIPT"] ?? "");
