import {
  appControl,
  clock,
  defineModule,
  errorBus,
  health,
  healthChecks,
  logger,
  metrics,
  provider,
  token,
  tracing,
} from "@plinth/kernel";
import { registry } from "@plinth/registry";
import { readGatewayDocument } from "./config/document.ts";
import type { GatewayDocument } from "./config/schema.ts";
import { GatewayConfigError } from "./errors.ts";
import { createGateway, type Gateway } from "./gateway.ts";
import { gatewaySettings } from "./options.ts";

export const gateway = token("gateway").of<Gateway>();

/**
 * A gateway with routes written in code.
 *
 * @param document - Absent: read from the file that the setting `gateway.routes` names.
 */
export function gatewayModuleOf(document?: GatewayDocument) {
  const provideGateway = provider({
    provides: gateway,
    needs: {
      settings: gatewaySettings,
      registry,
      clock,
      log: logger,
      metrics,
      tracing,
      errors: errorBus,
      health,
      control: appControl,
    },
    create: ({ settings, health: state, control, ...rest }) => {
      const own = createGateway({
        ...rest,
        log: rest.log.named("gateway"),
        settings,
        onDied: (error) => control.fail(error, "process"),
        document: document ?? readDocument(settings.routes),
      });
      state.onState((next) => next === "draining" && own.announceDrain());
      return own;
    },
    start: (own, { signal }) => own.listen({ signal }),
    drain: (own, { signal }) => own.drain({ signal }),
    stop: (own) => own.close(),
  });
  return defineModule("gateway", [provideGateway, provideKeysCheck]);
}

/** Routes go on that need no token, and known tokens are still taken: it only tells. */
const provideKeysCheck = provider({
  provides: healthChecks,
  needs: { own: gateway },
  create: ({ own }) => ({
    name: "gateway.keys",
    critical: false,
    run: () => {
      const without = own.providersWithoutKeys();
      if (without.length > 0) throw new Error(`no key set of ${without.join(", ")} could be fetched so far`);
    },
  }),
});

/** The gateway of the document that the setting `gateway.routes` names. */
export const gatewayModule = gatewayModuleOf();

function readDocument(file: string | undefined): GatewayDocument {
  if (file !== undefined) return readGatewayDocument(file);
  throw new GatewayConfigError([
    {
      key: "gateway.routes",
      problem: "expected the path of the gateway's document; set PLINTH_GATEWAY_ROUTES",
      source: "default",
    },
  ]);
}
