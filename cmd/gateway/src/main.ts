#!/usr/bin/env node
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gatewayModule, gatewayOpsModule } from "@plinth/gateway";
import { coreModule, createApp, messageOf } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { webhookReporterModule } from "@plinth/reporters";
import { sentryReporterModule } from "@plinth/reporters/sentry";
import { telemetryModule } from "@plinth/telemetry";
import { opsListener, opsModule } from "@plinth/transport";

const usage = "usage: plinth-gateway [--config gateway.yaml]";

/** Without `PLINTH_WEBHOOK_URL` and `PLINTH_SENTRY_DSN` they do nothing. */
const reporterModules = [webhookReporterModule, sentryReporterModule] as const;

/** The document that the command line names. */
function documentOf(args: readonly string[]): { readonly routes?: string } {
  const { config } = parseArgs({ args: [...args], options: { config: { type: "string", short: "c" } } }).values;
  return config === undefined ? {} : { routes: config };
}

function createGatewayApp(args: readonly string[]) {
  return createApp({
    name: "gateway",
    modules: [
      coreModule,
      ...reporterModules,
      telemetryModule,
      opsModule,
      registryModule,
      gatewayModule,
      gatewayOpsModule,
    ],
    expose: [opsListener],
    config: {
      environment: process.env,
      arguments: [], // they are this program's own
      defaults: { ops: { port: 8_081 }, gateway: { routes: join(import.meta.dirname, "../gateway.yaml") } },
      overrides: { gateway: documentOf(args) },
    },
  });
}

try {
  process.exitCode = await createGatewayApp(process.argv.slice(2)).run();
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n${usage}\n`);
  process.exitCode = 2;
}
