import {
  appControl,
  appDocuments,
  appInfo,
  clock,
  defineModule,
  errorBus,
  health,
  logger,
  metrics,
  optional,
  provider,
  requestScopes,
  type SettingsToken,
  token,
  tracing,
} from "@plinth/kernel";
import { endpoints } from "@plinth/registry/endpoints";
import { authenticator } from "../auth.ts";
import { incomingModule } from "../incoming.ts";
import { loopDelay, loopDelayModule } from "../loop-delay.ts";
import { middlewares } from "../middleware.ts";
import { opsHandler, opsModule, opsSettings } from "../ops/module.ts";
import { connectRoutes } from "../rpc/connect.ts";
import { rpcServices } from "../rpc/service.ts";
import { createHttpServer, type HttpRoutes, type HttpServer } from "./server.ts";
import { type HttpSettings, httpSettings } from "./settings.ts";

export const httpServer = token("http.server").of<HttpServer>();

/** Routes of the HTTP server; every module may add some. */
export const httpRoutes = token("http.routes").listOf<HttpRoutes>();

/** What an {@link httpModuleIn} module serves on. */
type HttpSection = SettingsToken<HttpSettings>;

/**
 * An HTTP server on fastify with the common middleware, the ops endpoints, the unary methods of the RPC services, and a drain.
 * @param settings - Its section of the config, made by {@link httpSettingsIn}.
 */
export function httpModuleIn(settings: HttpSection) {
  const provideHttpServer = provider({
    provides: httpServer,
    needs: {
      settings,
      opsSettings,
      ops: opsHandler,
      log: logger,
      errors: errorBus,
      metrics,
      tracing,
      clock,
      routes: httpRoutes,
      services: rpcServices,
      middlewares,
      authenticator: optional(authenticator),
      health,
      scopes: requestScopes,
      loopDelay,
      control: appControl,
      app: appInfo,
    },
    create: async ({ opsSettings: { port }, ops, health: state, routes, services, control, app, ...options }) => {
      const server = await createHttpServer({
        ...options,
        info: { title: app.name, version: app.version },
        instanceId: app.instanceId,
        log: options.log.named(settings.section),
        routes: [...routes, connectRoutes(services)],
        ops: port === undefined ? ops : undefined,
        portVariable: `PLINTH_${settings.section.toUpperCase()}_PORT`,
        onDied: (error) => control.fail(error, "process"),
      });
      state.onState((next) => next === "draining" && server.announceDrain());
      return server;
    },
    start: (server) => server.listen(),
    drain: (server, { signal }) => server.drain({ signal }),
    stop: (server) => server.close(),
  });
  /** For `plinth openapi`. Methods of RPC services are not among these routes: their contract says more than OpenAPI could. */
  const provideOpenApi = provider({
    provides: appDocuments,
    needs: { settings, routes: httpRoutes, authenticator: optional(authenticator), app: appInfo },
    create: ({ settings: { auth }, routes, authenticator, app: { name: title, version } }) => ({
      name: "openapi",
      write: async () => {
        const { writeDocumentOf } = await import("./openapi/write.ts"); // which no service needs
        return writeDocumentOf(routes, { title, version, auth: authenticator ? auth : "off" });
      },
    }),
  });
  return defineModule("http", [
    opsModule,
    incomingModule,
    loopDelayModule,
    provideHttpServer,
    provideHttpEndpoint,
    provideOpenApi,
  ]);
}

const provideHttpEndpoint = provider({
  provides: endpoints,
  needs: { server: httpServer, opsSettings },
  create: ({ server, opsSettings: { port } }) => ({
    protocol: "http" as const,
    host: server.host,
    port: () => server.port,
    unusable: server.unusable,
    checksIdentity: true,
    readyPath: port === undefined ? "/ready" : undefined,
  }),
});

/** The usual HTTP server of a service, with its settings in the section `http`. */
export const httpModule = httpModuleIn(httpSettings);
