#!/usr/bin/env node
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gatewayModule, gatewayOpsModule, gatewayPrimaryModuleOf, gatewayWorkersOf } from "@plinth/gateway";
import { gatewayServicesModule } from "@plinth/gateway/services";
import { coreModule, createApp, messageOf, type WorkersTeam } from "@plinth/kernel";
import { registryModule } from "@plinth/registry";
import { webhookReporterModule } from "@plinth/reporters";
import { sentryReporterModule } from "@plinth/reporters/sentry";
import { serviceClientsModule } from "@plinth/services";
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

const ownDocument = join(import.meta.dirname, "../gateway.yaml");

/** Where settings come from, in the workers and in their primary. */
function configOf(args: readonly string[]) {
  return {
    environment: process.env,
    arguments: [], // they are this program's own
    defaults: { gateway: { routes: ownDocument } },
    overrides: { gateway: documentOf(args) },
  };
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
      serviceClientsModule,
      gatewayServicesModule,
      gatewayModule,
      gatewayOpsModule,
    ],
    expose: [opsListener],
    config: { ...configOf(args), defaults: { ops: { port: 8_081 }, gateway: { routes: ownDocument } } },
  });
}

/** What the primary of several workers runs itself. */
const createPrimary = (args: readonly string[]) => (team: WorkersTeam) =>
  createApp({
    name: "gateway",
    modules: [coreModule, ...reporterModules, registryModule, gatewayPrimaryModuleOf(team)],
    config: configOf(args),
  });

try {
  const args = process.argv.slice(2);
  const environment = process.env;
  const { routes = environment.PLINTH_GATEWAY_ROUTES ?? ownDocument } = documentOf(args);
  const count = gatewayWorkersOf({ environment, routes });
  process.exitCode = await createGatewayApp(args).run({ workers: { count, primary: createPrimary(args) } });
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n${usage}\n`);
  process.exitCode = 2;
}
