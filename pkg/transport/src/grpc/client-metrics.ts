import type { Interceptor } from "@grpc/grpc-js";
import { type Clock, currentContext, type Metrics, systemClock } from "@plinth/kernel";
import { ActiveByPeer, type ClientMetrics, oncePerApp } from "../client-metrics.ts";
import { fromGrpcCode } from "../status.ts";

export interface GrpcClientMetricsOptions {
  readonly metrics: Metrics;
  /** Who is called, from a small fixed set: the name of a service, never an address. */
  readonly peer: string;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/**
 * An interceptor for clients of grpc-js, which times calls of every kind until their status: `grpc_client_call_duration_seconds`,
 * and `grpc_client_active_calls`. It changes no call. The gRPC library is loaded with the first.
 *
 * @example new Client(address, credentials, { interceptors: [await createGrpcClientMetrics({ metrics, peer: "billing" })] })
 */
export async function createGrpcClientMetrics({
  metrics,
  peer,
  clock = systemClock,
}: GrpcClientMetricsOptions): Promise<Interceptor> {
  const { InterceptingCall } = await import("@grpc/grpc-js");
  const { active, duration } = declare(metrics);
  active.count(peer, 0);
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(metadata, _listener, next) {
        const method = options.method_definition.path.replace(/^\//, "");
        const span = currentContext()?.span;
        const startedAtMs = clock.monotonicMs();
        active.count(peer, 1);
        next(metadata, {
          onReceiveStatus(status, tell) {
            active.count(peer, -1);
            const tookMs = clock.monotonicMs() - startedAtMs;
            duration.observe({ peer, method, status: fromGrpcCode(status.code) }, tookMs / 1e3, span);
            tell(status);
          },
        });
      },
    });
}

const declare = oncePerApp((metrics): ClientMetrics => {
  const active = new ActiveByPeer();
  metrics.gauge({
    name: "grpc_client_active_calls",
    help: "Calls to others that have no status yet.",
    labels: ["peer"],
    collect: (gauge) => active.collect(gauge),
  });
  const duration = metrics.histogram({
    name: "grpc_client_call_duration_seconds",
    help: "Time from a call to its status.",
    labels: ["peer", "method", "status"],
    exemplars: true,
  });
  return { active, duration };
});
