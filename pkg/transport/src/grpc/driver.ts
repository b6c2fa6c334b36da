import type { Http2Server } from "node:http2";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { Logger } from "@plinth/kernel";
import { listen, toListenError } from "../listen.ts";
import { watchCertificates } from "../tls/certificates.ts";
import { watchListeners } from "../watch-listeners.ts";
import { CallCore } from "./calls.ts";
import { asBytes, toServiceDefinition } from "./codec.ts";
import { ConnectionGuard } from "./connections.ts";
import { SwappableCredentials } from "./credentials.ts";
import { cutOffError } from "./errors.ts";
import { healthService } from "./health.ts";
import { endIdleCalls } from "./idle.ts";
import { reflectionServices } from "./reflection.ts";
import type { GrpcServer, GrpcServerOptions } from "./server.ts";
import type { GrpcSettings } from "./settings.ts";
import { Sockets } from "./sockets.ts";

/** Time for the last statuses to reach their callers, in milliseconds, when a drain is over its limit. */
const lastWordsMs = 250;

/** The server on grpc-js. */
export function openGrpcServer(options: GrpcServerOptions): GrpcServer {
  const { settings, services, health, log, errors, clock, metrics, onDied } = options;
  const core = new CallCore(options);
  const server = new Server({ ...toLibraryOptions(settings), interceptors: [core.intercept] });
  const probe = healthService({ health, services });
  const reflection = settings.reflection ? reflectionServices([...services, probe]) : [];
  for (const service of [...services, ...reflection, probe]) {
    // the interceptor takes every call, so that no implementation is ever reached
    server.addService(toServiceDefinition(service), {});
    core.serve(service, { isProbe: service === probe });
  }
  serveUnmatched(server, log);
  const guard = new ConnectionGuard({
    settings,
    clock,
    metrics,
    hasCalls: (session) => [...core.open].some(({ stream }) => sessionOf(stream) === session),
  });
  const endWatch = endIdleCalls(core, clock, settings.streamIdleTimeoutMs);
  let endCertificates = (): void => {};
  let sockets: Sockets | undefined;
  let port = 0;
  let unwatch = (): void => {};
  let drained: PromiseWithResolvers<void> | undefined;

  function credentials(): ServerCredentials {
    if (settings.tls === undefined) return ServerCredentials.createInsecure();
    const certificates = watchCertificates({
      settings: settings.tls,
      listener: "grpc",
      clock,
      log,
      metrics,
      onChange: (context) => swappable?.replace(context),
    });
    endCertificates = () => certificates.close();
    const swappable = new SwappableCredentials(settings.tls, certificates.context);
    return swappable;
  }

  let forced: Promise<void> | undefined;
  async function force(): Promise<void> {
    const cut = [...core.open].filter(({ exchange }) => exchange?.isOver === false);
    if (cut.length > 0) log.warn("calls are cut off, since the drain's limit has passed", { calls: cut.length });
    for (const wire of cut) core.stop(wire, cutOffError());
    const isSaid = Promise.withResolvers<void>();
    const limit = clock.schedule(lastWordsMs, isSaid.resolve);
    const isEmpty = drained?.promise ?? isSaid.promise;
    if (cut.length > 0) await Promise.race([isSaid.promise, isEmpty]);
    limit.cancel();
    sockets?.destroy();
    server.forceShutdown();
    drained?.resolve();
  }

  async function drain({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    if (drained === undefined) {
      unwatch();
      drained = Promise.withResolvers<void>();
      guard.isDraining = true;
      // GOAWAY; whether the library calls back does not matter, since a connection is over when its socket is
      server.tryShutdown(() => {});
      if (sockets) sockets.close(drained.resolve);
      else drained.resolve();
    }
    const { promise } = drained;
    const cut = (): void => void (forced ??= force()); // a stop that follows leaves the last statuses their time
    if (signal.aborted) cut();
    signal.addEventListener("abort", cut, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", cut));
    core.close();
    endWatch();
    endCertificates();
  }

  return {
    host: settings.host,
    get port() {
      return port;
    },
    async listen() {
      const { host } = settings;
      const variable = "PLINTH_GRPC_PORT";
      if (sockets !== undefined || drained !== undefined) {
        const cause = new Error(drained === undefined ? "the server listens already" : "the server has been closed");
        throw toListenError(cause, { host, port: settings.port, variable });
      }
      const opened = new Sockets(server.createConnectionInjector(credentials()));
      const known = tableIn(server, "http2Servers", log, "pings and silent connections are not limited");
      for (const each of known?.keys() ?? []) if (isHttp2Server(each)) guard.watch(each);
      opened.listener.maxConnections = settings.maxConnections;
      const { socketPath: path, socketMode, reusePort } = settings;
      const where = { host, port: settings.port, variable, reusePort };
      port = await listen(opened.listener, path === undefined ? where : { path, mode: Number.parseInt(socketMode, 8) });
      sockets = opened;
      unwatch = watchListeners([opened.listener], { what: "grpc server", host, port, errors, onDied });
      log.info("grpc server listens", path === undefined ? { host, port } : { path });
    },
    drain,
    close: () => drain({ signal: AbortSignal.abort() }),
  };
}

/** 0 is never, for which the library has the longest time that there is. */
function orNever(ms: number): number {
  return ms === 0 ? 2 ** 31 - 1 : ms;
}

function toLibraryOptions(settings: GrpcSettings) {
  return {
    // costs each call; what it is needed for, to know all sessions when they are to be cut off, is done by their sockets
    "grpc.enable_channelz": 0,
    "grpc.max_receive_message_length": settings.maxMessageBytes,
    "grpc.max_send_message_length": -1, // ours comes before it
    "grpc.max_concurrent_streams": settings.maxConcurrentStreams,
    "grpc.keepalive_time_ms": orNever(settings.keepaliveMs),
    "grpc.keepalive_timeout_ms": settings.keepaliveTimeoutMs,
    "grpc.max_connection_age_ms": orNever(settings.maxConnectionAgeMs),
    "grpc.max_connection_age_grace_ms": settings.maxConnectionAgeGraceMs,
    "grpc.max_connection_idle_ms": orNever(settings.maxConnectionIdleMs),
  };
}

function isHttp2Server(value: unknown): value is Http2Server {
  return typeof value === "object" && value !== null && "setTimeout" in value && "on" in value;
}

function sessionOf(stream: unknown): unknown {
  return typeof stream === "object" && stream !== null && "session" in stream ? stream.session : undefined;
}

/** The library would answer calls of unknown methods itself, unseen by metrics and log. */
function serveUnmatched(server: Server, log: Logger): void {
  const handlers = tableIn(server, "handlers", log, "calls of unknown methods are not counted or logged");
  if (!handlers) return;
  const fallback = { func: () => {}, serialize: asBytes, deserialize: asBytes, type: "bidi", path: "unmatched" };
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
