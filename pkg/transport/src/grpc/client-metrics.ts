import type { Interceptor, InterceptorOptions, Metadata } from "@grpc/grpc-js";
import {
  type Clock,
  currentContext,
  formatBaggage,
  type Metrics,
  type RequestContext,
  type Span,
  type SpanContext,
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
  return interceptorsOf(new CallObserver(options), options.clock);
}

/** Those that tell `observer`. */
export async function interceptorsOf(observer: CallObserver, clock: Clock = systemClock): Promise<Interceptor[]> {
  const { InterceptingCall } = await import("@grpc/grpc-js");
  const intercept: Interceptor = (given, nextCall) => {
    const context = currentContext();
    const call = nextCall(withDeadlineOf(context, given, clock));
    return new InterceptingCall(call, {
      start(metadata, _listener, next) {
        const method = given.method_definition.path.replace(/^\//, "");
        const observed = observer.begin(method, metadata, context);
        next(metadata, {
          onReceiveStatus(status, tell) {
            observed.end(status.code, call);
            tell(status);
          },
        });
      },
    });
  };
  return [intercept];
}

/** Times calls until their status, makes each a span, and hands on trace and baggage. */
export class CallObserver {
  readonly #options: GrpcClientOptions;
  readonly #clock: Clock;
  readonly #meters: ClientMetrics | undefined;

  constructor(options: GrpcClientOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#meters = options.metrics && declare(options.metrics);
    this.#meters?.active.count(options.peer, 0);
  }

  /**
   * @param method - `package.Service/Method`.
   * @param metadata - What goes along is added to it.
   * @param context - The request being served.
   */
  begin(method: string, metadata: Metadata, context: RequestContext | undefined): ObservedCall {
    const { tracing, propagation = "all", peer } = this.#options;
    const span = (tracing ?? tracingOf(context?.span))?.startSpan(method, { kind: "client" });
    const within = span ?? context?.span;
    if (propagation !== "none" && within) {
      const set = (name: string, value: string): void => setIfAbsent(metadata, name, value);
      propagateTrace(set, within);
    }
    const baggage = propagation === "all" ? formatBaggage(context?.baggage) : undefined;
    if (baggage !== undefined) setIfAbsent(metadata, "baggage", baggage);
    this.#meters?.active.count(peer, 1);
    return new ObservedCall({ method, peer, span, within, clock: this.#clock, meters: this.#meters });
  }
}

interface Observation {
  readonly method: string;
  readonly peer: string;
  readonly span: Span | undefined;
  /** That span, or else the one that the call is made in. */
  readonly within: SpanContext | undefined;
  readonly clock: Clock;
  readonly meters: ClientMetrics | undefined;
}

/** A call that is under way. */
export class ObservedCall {
  readonly #observation: Observation;
  readonly #startedAtMs: number;

  constructor(observation: Observation) {
    this.#observation = observation;
    this.#startedAtMs = observation.clock.monotonicMs();
  }

  /** Call once. @param code - Of gRPC. */
  end(code: number, call: { getPeer(): string }): void {
    const { method, peer, span, within, clock, meters } = this.#observation;
    const status = fromGrpcCode(code);
    meters?.active.count(peer, -1);
    meters?.duration.observe({ peer, method, status }, (clock.monotonicMs() - this.#startedAtMs) / 1e3, within);
    if (span?.sampled === true) endSpan(span, { method, peer, status, server: call.getPeer() });
    else span?.end();
  }
}

function withDeadlineOf(
  context: RequestContext | undefined,
  options: InterceptorOptions,
  clock: Clock,
): InterceptorOptions {
  const own = options.deadline === undefined ? Infinity : Number(options.deadline);
  const deadline = earlierOf(own, context, clock);
  return deadline === own ? options : { ...options, deadline };
}

/** The earlier of a call's own deadline and that of the request being served, in milliseconds since the Unix epoch. */
export function earlierOf(own: number, context: RequestContext | undefined, clock: Clock): number {
  if (context?.deadlineAtMs === undefined) return own;
  return Math.min(own, Date.now() + context.deadlineAtMs - clock.monotonicMs());
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
function endSpan(span: Span, { method, peer, status, server }: Ended): void {
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
