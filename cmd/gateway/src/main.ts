#!/usr/bin/env node
// usage: plinth-gateway [--config gateway.yaml]
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gatewayModule } from "@plinth/gateway";
import { coreModule, createApp } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { telemetryModule } from "@plinth/telemetry";
import { opsListener, opsModule } from "@plinth/transport";

const { values } = parseArgs({ options: { config: { type: "string", short: "c" } } });

const app = createApp({
  name: "gateway",
  modules: [coreModule, telemetryModule, opsModule, registryModule, gatewayModule],
  expose: [opsListener],
  config: {
    defaults: { ops: { port: 8_081 }, gateway: { routes: join(import.meta.dirname, "../gateway.yaml") } },
    overrides: values.config === undefined ? {} : { gateway: { routes: values.config } },
  },
});
process.exitCode = await app.run();
