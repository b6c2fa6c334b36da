import {
  appControl,
  appInfo,
  defineModule,
  defineSettings,
  errorBus,
  health,
  logger,
  metricsExposition,
  provider,
  secretString,
  token,
} from "@plinth/kernel";
import { z } from "zod";
import type { TransportError } from "../errors.ts";
import { createOpsHandler, type OpsHandler } from "./handler.ts";
import { OpsRoutes } from "./routes.ts";
import { startOpsServer } from "./server.ts";
import { isLoopbackName } from "./verbose.ts";

export const opsSettings = defineSettings(
  "ops",
  z.strictObject({
    host: z.string().min(1).default("127.0.0.1").meta({ description: "Address that the ops listener binds." }),
    port: z.number().int().min(0).max(65_535).optional().meta({
      description:
        "Port of a listener for /healthz, /ready and /metrics alone; 0 takes a free one. Absent: they are on the HTTP server.",
    }),
    token: secretString(
      "Lets callers from elsewhere have /ready?verbose, /healthz?verbose and the endpoints of modules, by `authorization: Bearer`. Absent: only callers on this machine have them.",
    ).optional(),
  }),
);

export const opsHandler = token("ops.handler").of<OpsHandler>();

/** The listener of its own, when `ops.port` is set. */
export interface OpsListener {
  /** Undefined when there is no such listener. */
  readonly port: number | undefined;
  close(): Promise<void>;
}

export const opsListener = token("ops.listener").of<OpsListener>();

/** Where modules put what they tell operators of themselves. */
export const opsRoutes = token("ops.routes").of<OpsRoutes>();

const provideOpsRoutes = provider({ provides: opsRoutes, ground: true, create: () => new OpsRoutes() });

const provideOpsHandler = provider({
  provides: opsHandler,
  needs: {
    routes: opsRoutes,
    health,
    metrics: metricsExposition,
    errors: errorBus,
    info: appInfo,
    settings: opsSettings,
  },
  ground: true,
  create: ({ info, settings, ...rest }) =>
    createOpsHandler({
      ...rest,
      instanceId: info.instanceId,
      version: info.version,
      token: settings.token,
      isLocal: settings.port !== undefined && isLoopbackName(settings.host),
    }),
});

/** Opens first and closes last: it answers while everything else starts and drains. */
const provideOpsListener = provider({
  provides: opsListener,
  needs: { handler: opsHandler, settings: opsSettings, log: logger, errors: errorBus, control: appControl },
  ground: true,
  create: async ({ handler, settings: { host, port }, log, errors, control }) => {
    if (port === undefined) return { port: undefined, close: async () => {} };
    const onDied = (error: TransportError): void => control.fail(error, "process");
    const server = await startOpsServer({ handler, errors, host, port, variable: "PLINTH_OPS_PORT", onDied });
    log.named("ops").info("ops endpoints listen", { host, port: server.port });
    return server;
  },
  stop: (listener) => listener.close(),
});

export const opsModule = defineModule("ops", [provideOpsRoutes, provideOpsHandler, provideOpsListener]);
