import { Server, ServerCredentials } from "@grpc/grpc-js";
import { takeLastConnections } from "@plinth/kernel";
import { cutOffError } from "../exchange.ts";
import { listen, toListenError } from "../listen.ts";
import { watchCertificates } from "../tls/certificates.ts";
import { watchListeners } from "../watch-listeners.ts";
import { CallCore } from "./calls.ts";
import { ConnectionGuard } from "./connections.ts";
import { SwappableCredentials } from "./credentials.ts";
import { healthService } from "./health.ts";
import { endIdleCalls } from "./idle.ts";
import { reflectionServices } from "./reflection.ts";
import type { GrpcServer, GrpcServerOptions } from "./server.ts";
import type { GrpcSettings } from "./settings.ts";
import { Sockets } from "./sockets.ts";
import { takeStreams } from "./streams.ts";

/** Time for the last statuses to reach their callers, in milliseconds, when a drain is over its limit. */
const lastWordsMs = 250;

/** The server on grpc-js. */
export function openGrpcServer(options: GrpcServerOptions): GrpcServer {
  const { settings, services, health, log, errors, clock, metrics, onDied } = options;
  const core = new CallCore(options);
  const server = new Server(toLibraryOptions(settings));
  const probe = healthService({ health, services, instanceId: options.instanceId });
  const reflection = settings.reflection ? reflectionServices([...services, probe]) : [];
  for (const service of [...services, ...reflection, probe]) core.serve(service, { isProbe: service === probe });
  const guard = new ConnectionGuard({
    settings,
    clock,
    metrics,
    hasCalls: (session) => [...core.open].some(({ stream }) => stream.session === session),
  });
  const endWatch = endIdleCalls(core, clock, settings.idleTimeoutMs);
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

  const atOnce = new AbortController();
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

  let shut: Promise<void> | undefined;
  async function shutDown(onDrained: () => void): Promise<void> {
    const last = sockets && takeLastConnections(sockets.listener, { clock, signal: atOnce.signal });
    if (last) {
      await last;
      await guard.untilUsed(atOnce.signal);
    }
    guard.isDraining = true;
    // GOAWAY; whether the library calls back does not matter, since a connection is over when its socket is
    server.tryShutdown(() => {});
    if (sockets) sockets.close(onDrained);
    else onDrained();
    if (last && atOnce.signal.aborted) sockets?.destroy(); // those that came meanwhile
  }

  async function drain({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    if (drained === undefined) {
      unwatch();
      drained = Promise.withResolvers<void>();
      if (signal.aborted) atOnce.abort();
      shut = shutDown(drained.resolve);
    }
    const { promise } = drained;
    // a stop that follows leaves the last statuses their time
    const cut = (): void => {
      atOnce.abort();
      forced ??= force();
    };
    if (signal.aborted) cut();
    signal.addEventListener("abort", cut, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", cut));
    await shut;
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
      takeStreams(server, {
        admit: (session) => guard.admit(session),
        take: (stream, headers, connection) => core.take(stream, headers, connection),
      });
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
    "grpc.max_concurrent_streams": settings.maxConcurrentStreams,
    "grpc.keepalive_time_ms": orNever(settings.keepaliveMs),
    "grpc.keepalive_timeout_ms": settings.keepaliveTimeoutMs,
    "grpc.max_connection_age_ms": orNever(settings.maxConnectionAgeMs),
    "grpc.max_connection_age_grace_ms": settings.maxConnectionAgeGraceMs,
    "grpc.max_connection_idle_ms": orNever(settings.maxConnectionIdleMs),
  };
}
