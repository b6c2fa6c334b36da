// A gateway in front of the service `counted`, which it finds through the registry that the environment names, run as a program by the
// tests of that.
import { gatewayModuleOf } from "@plinth/gateway";
import { coreModule, createApp } from "@plinth/kernel";
import { opsModule } from "@plinth/transport";
import { fleetClock, fleetRegistry } from "./fleet-clock.ts";

process.exitCode = await createApp({
  name: "fleet-gateway",
  modules: [
    coreModule,
    opsModule,
    fleetRegistry,
    gatewayModuleOf({ routes: [{ name: "all", match: { path: "/**" }, service: "counted", anonymous: true }] }),
  ],
  clock: fleetClock,
}).run();
