import {
  type Clock,
  createErrorBus,
  createHealth,
  createLogger,
  createMetrics,
  createTracing,
  type SettingsToken,
  systemClock,
} from "@plinth/kernel";
import {
  connectRoutes,
  createGrpcServer,
  createHttpServer,
  grpcSettings,
  httpSettings,
  type RpcService,
} from "@plinth/transport";
import type { AuditClient } from "../audit/types.ts";
import { auditService } from "../audit/service.ts";
import type { AuthClient } from "../auth/types.ts";
import { authService } from "../auth/service.ts";
import type { AuthzClient } from "../authz/types.ts";
import { authzService } from "../authz/service.ts";
import type { IdentityClient } from "../identity/types.ts";
import { identityService } from "../identity/service.ts";

/** What a reference server serves: fakes, or anything else that does the work. */
export interface ReferenceServerOptions {
  readonly auth?: AuthClient;
  readonly identity?: IdentityClient;
  readonly authz?: AuthzClient;
  readonly audit?: AuditClient;
  /** Contracts of one's own. */
  readonly services?: readonly RpcService[];
  /** Both servers speak TLS by these files, as by their setting `tls`. Default: neither does. */
  readonly tls?: {
    readonly certFile: string;
    readonly keyFile: string;
    /** Asks callers for a certificate that an authority in `caFile` has signed. */
    readonly clientCertificate?: "request" | "require";
    readonly caFile?: string;
  };
  /** Default: the system's. */
  readonly clock?: Clock;
}

/** A gRPC and an HTTP server on free ports of 127.0.0.1, without authentication. */
export interface ReferenceServer extends AsyncDisposable {
  /** `127.0.0.1:port`, for `createGrpcChannel`. */
  readonly grpcAddress: string;
  /** `http://127.0.0.1:port`, or of `https`, for `createConnectChannel`. */
  readonly httpUrl: string;
  /** Cuts off whatever is under way. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * Serves fakes on real servers, so that what is built on a contract meets the wire: its errors, its limits, its deadlines.
 * @example await using server = await referenceServer({ authz: fakeAuthz() });
 */
export async function referenceServer(options: ReferenceServerOptions): Promise<ReferenceServer> {
  const { auth, identity, authz, audit, tls, clock = systemClock } = options;
  const services = [
    ...(auth ? [authService(auth)] : []),
    ...(identity ? [identityService(identity)] : []),
    ...(authz ? [authzService(authz)] : []),
    ...(audit ? [auditService(audit)] : []),
    ...(options.services ?? []),
  ];
  const log = await createLogger({ destination: { write: () => {} } });
  const common = { log, errors: createErrorBus({ clock }), metrics: createMetrics(), tracing: createTracing(), clock };
  const health = createHealth({ clock });
  health.setPhase("ready");
  const http = await createHttpServer({
    ...common,
    settings: await settingsOf(httpSettings, { port: 0, accessLog: false, tls }),
    routes: [connectRoutes(services)],
  });
  const grpc = await createGrpcServer({
    ...common,
    settings: await settingsOf(grpcSettings, { port: 0, accessLog: false, tls }),
    health,
    services,
  });
  const close = async (): Promise<void> => void (await Promise.all([http.close(), grpc.close()]));
  try {
    await Promise.all([http.listen(), grpc.listen()]);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    grpcAddress: `127.0.0.1:${grpc.port}`,
    httpUrl: `${tls ? "https" : "http"}://127.0.0.1:${http.port}`,
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function settingsOf<T>({ schema, section }: SettingsToken<T>, given: object): Promise<T> {
  const result = await schema["~standard"].validate(given);
  const isValid = (_value: unknown): _value is T => result.issues === undefined;
  if (result.issues === undefined && isValid(result.value)) return result.value;
  throw new TypeError(`${section}: ${(result.issues ?? []).map(({ message }) => message).join("; ")}`);
}
