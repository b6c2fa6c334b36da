// Time in the programs of the fleet: the system's, or what `CLOCK_SCRIPT` makes of it. A step is for the whole app; a rate for its
// registry alone, since all else of it deals with a world that goes at its own pace.
import { type Clock, systemClock } from "@plinth/kernel";
import { createConsulRegistry, registryModule, registryModuleOf } from "@plinth/registry";
import { createWarpedClock, warpAtSignals } from "../support/warped-clock.ts";

const { CLOCK_SCRIPT = "", PLINTH_CONSUL_ADDR, PLINTH_CONSUL_TOKEN } = process.env;
const warped = CLOCK_SCRIPT === "" ? undefined : createWarpedClock();
if (warped) warpAtSignals(warped, CLOCK_SCRIPT);
const hasRate = CLOCK_SCRIPT.includes("rate");

export const fleetClock: Clock = (hasRate ? undefined : warped) ?? systemClock;

export const fleetRegistry =
  warped && hasRate
    ? registryModuleOf((context) =>
        createConsulRegistry({
          ...context,
          clock: warped,
          address: PLINTH_CONSUL_ADDR,
          token: PLINTH_CONSUL_TOKEN,
          ttlMs: 6_000,
          waitMs: 3_000,
          requestTimeoutMs: 1_500,
        }),
      )
    : registryModule;
