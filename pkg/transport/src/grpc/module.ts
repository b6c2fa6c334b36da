import {
  appControl,
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
  token,
  tracing,
} from "@plinth/kernel";
import { endpoints } from "@plinth/registry/endpoints";
import { authenticator } from "../auth.ts";
import type { TransportError } from "../errors.ts";
import { incomingModule } from "../incoming.ts";
import { loopDelay, loopDelayModule } from "../loop-delay.ts";
import { middlewares } from "../middleware.ts";
import { rpcServices } from "../rpc/service.ts";
import { createGrpcServer, type GrpcServer } from "./server.ts";
import { grpcSettings } from "./settings.ts";

export const grpcServer = token("grpc.server").of<GrpcServer>();

const provideGrpcServer = provider({
  provides: grpcServer,
  needs: {
    settings: grpcSettings,
    services: rpcServices,
    health,
    log: logger,
    errors: errorBus,
    metrics,
    tracing,
    clock,
    scopes: requestScopes,
    loopDelay,
    middlewares,
    authenticator: optional(authenticator),
    control: appControl,
    app: appInfo,
  },
  create: ({ log, control, app, ...options }) => {
    const onDied = (error: TransportError): void => control.fail(error, "process");
    return createGrpcServer({ ...options, instanceId: app.instanceId, log: log.named("grpc"), onDied });
  },
  start: (server) => server.listen(),
  drain: (server, { signal }) => server.drain({ signal }),
  stop: (server) => server.close(),
});

const provideGrpcEndpoint = provider({
  provides: endpoints,
  needs: { server: grpcServer, settings: grpcSettings },
  create: ({ server, settings: { socketPath, tls } }) => ({
    protocol: "grpc" as const,
    host: server.host,
    port: () => server.port,
    checksIdentity: true,
    tls: tls !== undefined,
    unusable: socketPath === undefined ? undefined : "it listens on a path, grpc.socketPath, and on no port",
  }),
});

/** A gRPC server for the app's RPC services, with health and a drain. */
export const grpcModule = defineModule("grpc", [
  incomingModule,
  loopDelayModule,
  provideGrpcServer,
  provideGrpcEndpoint,
]);
