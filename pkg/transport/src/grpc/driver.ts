import { Server as NetServer } from "node:net";
import { type handleBidiStreamingCall, Server, ServerCredentials } from "@grpc/grpc-js";
import { type Logger, messageOf } from "@plinth/kernel";
import { toListenError } from "../listen.ts";
import { CallCore } from "./calls.ts";
import { asBytes, toServiceDefinition } from "./codec.ts";
import { healthService } from "./health.ts";
import { watchListeners } from "../watch-listeners.ts";
import type { GrpcServer, GrpcServerOptions } from "./server.ts";

/** The server on grpc-js. */
export function openGrpcServer(options: GrpcServerOptions): GrpcServer {
  const { settings, services, health, log, errors, onDied } = options;
  // Leave channelz on: without it the library forgets its sessions, and `forceShutdown` has nothing to cut off.
  const server = new Server({
    "grpc.max_receive_message_length": settings.maxMessageBytes,
    "grpc.max_concurrent_streams": settings.maxConcurrentStreams,
    "grpc.so_reuseport": 0,
  });
  const core = new CallCore(options);
  for (const service of services) server.addService(toServiceDefinition(service), core.implement(service));
  const probe = healthService({ health, services });
  server.addService(toServiceDefinition(probe), core.implement(probe, { isProbe: true }));
  serveUnmatched(server, core.unmatched(), log);
  let port = 0;
  let unwatch = (): void => {};
  let drained: PromiseWithResolvers<void> | undefined;

  async function drain({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    if (drained === undefined) {
      unwatch();
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
      unwatch = watchListeners(listenersOf(server, log), { what: "grpc server", host, port, errors, onDied });
      log.info("grpc server listens", { host, port });
    },
    drain,
    close: () => drain({ signal: AbortSignal.abort() }),
  };
}

/** The library tells nobody of them. */
function listenersOf(server: Server, log: Logger): NetServer[] {
  const held = tableIn(server, "http2Servers", log, "nobody notices when the listener dies");
  return held ? [...held.keys()].filter((listener) => listener instanceof NetServer) : [];
}

/** The library would answer calls of unknown methods itself, unseen by metrics and log. */
function serveUnmatched(server: Server, handle: handleBidiStreamingCall<Buffer, Buffer>, log: Logger): void {
  const handlers = tableIn(server, "handlers", log, "calls of unknown methods are not counted or logged");
  if (!handlers) return;
  const fallback = { func: handle, serialize: asBytes, deserialize: asBytes, type: "bidi", path: "unmatched" };
  const known = new Map<unknown, unknown>(handlers);
  handlers.get = (path: unknown): unknown => known.get(path) ?? fallback;
}

/** A field that the library calls private: a version of it that has it otherwise is served with all the same. */
function tableIn(server: Server, name: string, log: Logger, consequence: string): Map<unknown, unknown> | undefined {
  const table: unknown = Reflect.get(server, name);
  if (table instanceof Map) return table;
  log.warn("grpc-js is not as expected", { missing: name, consequence });
  return undefined;
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
