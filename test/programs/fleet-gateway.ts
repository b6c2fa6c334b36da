// A gateway in front of the service `counted`, which it finds through the registry that the environment names, run as a program by the
// tests of that.
import { gatewayModuleOf } from "@plinth/gateway";
import { coreModule, createApp } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { opsModule } from "@plinth/transport";
import { clockOfFleet } from "./fleet-clock.ts";

process.exitCode = await createApp({
  name: "fleet-gateway",
  modules: [
    coreModule,
    opsModule,
    registryModule,
    gatewayModuleOf({ routes: [{ name: "all", match: { path: "/**" }, service: "counted", anonymous: true }] }),
  ],
  clock: clockOfFleet(),
}).run();
