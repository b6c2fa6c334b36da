import type { Interceptor, InterceptorOptions, Metadata } from "@grpc/grpc-js";
import {
  type Clock,
  currentContext,
  formatBaggage,
  type Metrics,
  type RequestContext,
  type Span,
  systemClock,
  type Tracing,
  tracingOf,
} from "@plinth/kernel";
import { ActiveByPeer, type ClientMetrics, oncePerApp } from "../client-metrics.ts";
import { type Propagation, propagateTrace } from "../propagation.ts";
import { fromGrpcCode } from "../status.ts";

export interface GrpcClientOptions {
  /** Absent: nothing is counted. */
  readonly metrics?: Metrics | undefined;
  /** Who is called, from a small fixed set: the name of a service, never an address. */
  readonly peer: string;
  /** Makes the spans of calls. Default: what made the span of the request being served, so that outside of one there is none. */
  readonly tracing?: Tracing | undefined;
  /** What of the request being served the peer is told: `none` where it is no service of yours. Default `all`. */
  readonly propagation?: Propagation | undefined;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
}

/**
 * Interceptors for clients of grpc-js. They time calls of every kind until their status, `grpc_client_call_duration_seconds` and
 * `grpc_client_active_calls`, make each a span, and hand on trace, baggage and, as the call's deadline, the time that the request
 * being served has left: with none left, the call ends at once and nothing is sent. The gRPC library is loaded with the first.
 *
 * @example new Client(address, credentials, { interceptors: await createGrpcClientInterceptors({ metrics, peer: "billing" }) })
 */
export async function createGrpcClientInterceptors(options: GrpcClientOptions): Promise<Interceptor[]> {
  const { InterceptingCall } = await import("@grpc/grpc-js");
  const { metrics, peer, propagation = "all", clock = systemClock } = options;
  const meters = metrics && declare(metrics);
  meters?.active.count(peer, 0);
  const intercept: Interceptor = (given, nextCall) => {
    const context = currentContext();
    const call = nextCall(withDeadlineOf(context, given, clock));
    return new InterceptingCall(call, {
      start(metadata, _listener, next) {
        const method = given.method_definition.path.replace(/^\//, "");
        const span = (options.tracing ?? tracingOf(context?.span))?.startSpan(method, { kind: "client" });
        const within = span ?? context?.span;
        const set = (name: string, value: string): void => setIfAbsent(metadata, name, value);
        if (propagation !== "none") propagateTrace(set, within);
        const baggage = propagation === "all" ? formatBaggage(context?.baggage) : undefined;
        if (baggage !== undefined) set("baggage", baggage);
        const startedAtMs = clock.monotonicMs();
        meters?.active.count(peer, 1);
        next(metadata, {
          onReceiveStatus(status, tell) {
            meters?.active.count(peer, -1);
            const name = fromGrpcCode(status.code);
            meters?.duration.observe({ peer, method, status: name }, (clock.monotonicMs() - startedAtMs) / 1e3, within);
            endSpan(span, { method, peer, status: name, server: call.getPeer() });
            tell(status);
          },
        });
      },
    });
  };
  return [intercept];
}

/** The earlier of the call's own deadline and that of the request being served. */
function withDeadlineOf(
  context: RequestContext | undefined,
  options: InterceptorOptions,
  clock: Clock,
): InterceptorOptions {
  if (context?.deadlineAtMs === undefined) return options;
  const atMs = Date.now() + context.deadlineAtMs - clock.monotonicMs();
  const own = options.deadline === undefined ? Infinity : Number(options.deadline);
  return own <= atMs ? options : { ...options, deadline: atMs };
}

function setIfAbsent(metadata: Metadata, name: string, value: string): void {
  if (metadata.get(name).length === 0) metadata.set(name, value);
}

interface Ended {
  readonly method: string;
  readonly peer: string;
  readonly status: string;
  /** Address and port. */
  readonly server: string;
}

/** @see https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ */
function endSpan(span: Span | undefined, { method, peer, status, server }: Ended): void {
  if (span === undefined) return;
  if (span.sampled) {
    const code = status.toUpperCase();
    const [, address, port] = /^(?:dns:\/*)?(.+?)(?::(\d+))?$/.exec(server) ?? [];
    span.setAttributes({
      "rpc.system.name": "grpc",
      "rpc.method": method,
      "rpc.status_code": code,
      "server.address": address,
      "server.port": port === undefined ? undefined : Number(port),
      "plinth.peer": peer,
    });
    if (status !== "ok") span.setFailed(code);
  }
  span.end();
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
