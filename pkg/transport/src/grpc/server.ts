import { Server, ServerCredentials } from "@grpc/grpc-js";
import { type Health, messageOf } from "@plinth/kernel";
import { toListenError } from "../listen.ts";
import type { RpcService } from "../rpc/service.ts";
import { CallCore, type CallOptions } from "./calls.ts";
import { toServiceDefinition } from "./codec.ts";
import { healthService } from "./health.ts";

export interface GrpcServerOptions extends CallOptions {
  readonly services: readonly RpcService[];
  readonly health: Health;
}

export interface GrpcServer {
  readonly host: string;
  /** The port bound; 0 before `listen`. */
  readonly port: number;
  /** @throws {@link TransportError} `ERR_LISTEN_PORT_BUSY`, `ERR_LISTEN_ADDRESS`. */
  listen(): Promise<void>;
  /** GOAWAY, then resolves when the last call has ended; calls still running when `signal` aborts are cut off. */
  drain(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Cuts off whatever is left. Safe to call twice. */
  close(): Promise<void>;
}

/** A gRPC server with recovery, trace, log context, metrics, deadlines and `grpc.health.v1`. */
export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const { settings, services, health, log, clock } = options;
  // Leave channelz on: without it the library forgets its sessions, and `forceShutdown` has nothing to cut off.
  const server = new Server({
    "grpc.max_receive_message_length": settings.maxMessageBytes,
    "grpc.max_concurrent_streams": settings.maxConcurrentStreams,
    "grpc.so_reuseport": 0,
  });
  const core = new CallCore(options);
  for (const service of services) server.addService(toServiceDefinition(service), core.implement(service));
  const probe = healthService({ health, services, clock });
  server.addService(toServiceDefinition(probe), core.implement(probe, { isProbe: true }));
  let port = 0;
  let drained: PromiseWithResolvers<void> | undefined;

  async function drain({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    if (drained === undefined) {
      drained = Promise.withResolvers<void>();
      server.tryShutdown(() => drained?.resolve());
    }
    const { promise, resolve } = drained;
    // `tryShutdown` does not call back while a stream stays open, so the signal forces it.
    const force = (): void => {
      server.forceShutdown();
      resolve();
    };
    if (signal.aborted) force();
    signal.addEventListener("abort", force, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", force));
  }

  return {
    host: settings.host,
    get port() {
      return port;
    },
    async listen() {
      const { host } = settings;
      port = await bind(server, host, settings.port);
      log.info("grpc server listens", { host, port });
    },
    drain,
    close: () => drain({ signal: AbortSignal.abort() }),
  };
}

async function bind(server: Server, host: string, port: number): Promise<number> {
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  try {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
    return await promise;
  } catch (cause) {
    const error = cause instanceof Error ? cause : new Error(messageOf(cause));
    // The library tells the cause in its text alone.
    const code = error.message.includes("EADDRINUSE") ? "EADDRINUSE" : undefined;
    throw toListenError(Object.assign(error, { code }), { host, port, variable: "PLINTH_GRPC_PORT" });
  }
}
