import type { DescMethod } from "@bufbuild/protobuf";
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import {
  AppError,
  type Clock,
  type ErrorBus,
  type Histogram,
  type Logger,
  type Metrics,
  parseTraceparent,
  randomHex,
  type RequestScopes,
  runInContext,
  type Tracing,
} from "@plinth/kernel";
import { type Budget, callerGone, Exchange, type ExchangeOptions, safeRequestIdOf } from "../exchange.ts";
import { type ErasedHandler, methodName, type RpcService } from "../rpc/service.ts";
import { isIncident } from "../status.ts";
import { decode, decodeAll, encode } from "./codec.ts";
import { toGrpcStatus } from "./errors.ts";
import { pump } from "./pump.ts";
import type { GrpcSettings } from "./settings.ts";

export interface CallOptions {
  readonly settings: GrpcSettings;
  readonly log: Logger;
  readonly errors: ErrorBus;
  readonly metrics: Metrics;
  readonly tracing: Tracing;
  readonly clock: Clock;
  /** Where what lives for one request comes from. Absent: nothing does. */
  readonly scopes?: RequestScopes | undefined;
}

/** What grpc-js gives for every kind of call. */
interface AnyCall {
  readonly metadata: Metadata;
  getDeadline(): Date | number;
  on(event: "cancelled", listener: () => void): unknown;
}

export interface ImplementOptions {
  /** Leaves its calls out of metrics, traces and access log: for probes. Default false. */
  readonly isProbe?: boolean;
}

/** Puts recovery, trace, log context, metrics and deadline around the handlers of RPC services. */
export class CallCore {
  readonly #options: CallOptions;
  readonly #accessLog: Logger;
  readonly #duration: Histogram<"method" | "status">;

  constructor(options: CallOptions) {
    this.#options = options;
    this.#accessLog = options.log.named("access");
    this.#duration = options.metrics.histogram({
      name: "grpc_server_call_duration_seconds",
      help: "Time from the call's start to its status.",
      labels: ["method", "status"],
    });
  }

  implement(
    { descriptor, handlers }: RpcService,
    { isProbe = false }: ImplementOptions = {},
  ): UntypedServiceImplementation {
    return Object.fromEntries(
      descriptor.methods.map((method): [string, UntypedHandleCall] => {
        const handler = handlers[method.localName];
        if (!handler) throw new TypeError(`${descriptor.typeName} has no handler for ${method.localName}`);
        return [method.localName, this.#handle({ method, handler, isProbe, name: methodName(method) })];
      }),
    );
  }

  #handle(served: ServedMethod): UntypedHandleCall {
    const { method, handler } = served;
    const { input } = method;
    switch (method.methodKind) {
      case "unary": {
        const handle: handleUnaryCall<Buffer, Buffer> = (call, callback) =>
          this.#serve(
            served,
            call,
            async (exchange) => encode(method, await handler(decode(input, call.request), exchange)),
            (reply) => callback(null, reply),
            (status) => callback(status),
          );
        return handle;
      }
      case "client_streaming": {
        const handle: handleClientStreamingCall<Buffer, Buffer> = (call, callback) =>
          this.#serve(
            served,
            call,
            async (exchange) => encode(method, await handler(decodeAll(input, call, exchange), exchange)),
            (reply) => callback(null, reply),
            (status) => callback(status),
          );
        return handle;
      }
      case "server_streaming": {
        const handle: handleServerStreamingCall<Buffer, Buffer> = (call) =>
          this.#serve(
            served,
            call,
            (exchange) => pump(handler(decode(input, call.request), exchange), { call, method, exchange }),
            () => call.end(),
            (status) => call.emit("error", status),
          );
        return handle;
      }
      case "bidi_streaming": {
        const handle: handleBidiStreamingCall<Buffer, Buffer> = (call) =>
          this.#serve(
            served,
            call,
            (exchange) => pump(handler(decodeAll(input, call, exchange), exchange), { call, method, exchange }),
            () => call.end(),
            (status) => call.emit("error", status),
          );
        return handle;
      }
    }
  }

  /** Runs one call to its end. */
  #serve<Reply>(
    served: ServedMethod,
    call: AnyCall,
    work: (exchange: CallExchange) => Promise<Reply>,
    succeed: (reply: Reply) => void,
    fail: (status: GrpcFailure) => void,
  ): void {
    const exchange = this.#open(served, call);
    const { errors } = this.#options;
    runInContext(exchange, () => {
      const outcome = Promise.race([settle(() => work(exchange)), exchange.givenUp]);
      outcome
        .then(
          (reply) => {
            this.#finish(exchange, served);
            succeed(reply);
          },
          (thrown: unknown) => fail(this.#fail(exchange, served, thrown)),
        )
        .catch((error: unknown) => errors.report(error, { origin: "rpc", attributes: { method: served.name } }));
    });
  }

  #open({ name, method }: ServedMethod, call: AnyCall): CallExchange {
    const { tracing, clock, settings, scopes } = this.#options;
    const span = tracing.startSpan(name, {
      kind: "server",
      parent: parseTraceparent(first(call.metadata, "traceparent")) ?? null,
    });
    const exchange = new CallExchange({
      requestId: safeRequestIdOf(first(call.metadata, "x-request-id")) ?? randomHex(16),
      span,
      clock,
      scopes,
      budget: budgetOf(call, method, settings),
      metadata: call.metadata,
    });
    exchange.route = name;
    call.on("cancelled", () => {
      if (exchange.isOver) return; // it comes after every call
      if (leftMsOf(call) <= 0) exchange.expire();
      else exchange.cancel();
    });
    return exchange;
  }

  #fail(exchange: CallExchange, served: ServedMethod, thrown: unknown): GrpcFailure {
    const error = exchange.stopped ?? toAppError(thrown);
    exchange.error = error;
    // That a caller gave too little time is not the server's fault.
    const isCallers = error === exchange.stopped && exchange.budget.isCallers;
    if (isIncident(error.status) && !isCallers) {
      const report = exchange.stopped ?? thrown;
      this.#options.errors.report(report, { origin: "rpc", attributes: { method: served.name } });
    }
    this.#finish(exchange, served);
    return Object.assign(
      new Error(error.code),
      toGrpcStatus(error, { traceId: exchange.span.traceId, requestId: exchange.requestId }),
    );
  }

  #finish(exchange: CallExchange, { isProbe, name }: ServedMethod): void {
    const { clock, settings, errors } = this.#options;
    const { span, error } = exchange;
    const tookMs = clock.monotonicMs() - exchange.startedAtMs;
    const status = error?.status ?? "ok";
    exchange.end((thrown) => errors.report(thrown, { origin: "rpc", attributes: { method: name } }));
    if (isProbe) return;
    this.#duration.observe({ method: name, status }, tookMs / 1e3);
    if (span.sampled) {
      span.setAttribute("rpc.system.name", "grpc");
      span.setAttribute("rpc.method", name);
      span.setAttribute("rpc.response.status_code", status);
      if (error && isIncident(error.status)) span.fail(error);
    }
    span.end();
    if (!settings.accessLog || !this.#accessLog.isEnabled("info")) return;
    this.#accessLog.info("call", {
      method: name,
      status,
      duration_ms: Math.round(tookMs * 1e3) / 1e3,
      code: error?.code,
    });
  }
}

interface ServedMethod extends Required<ImplementOptions> {
  readonly method: DescMethod;
  readonly handler: ErasedHandler;
  readonly name: string;
}

/** A status as grpc-js takes it for a failure. */
type GrpcFailure = Error & ReturnType<typeof toGrpcStatus>;

/** One RPC being served. */
class CallExchange extends Exchange {
  override readonly protocol = "grpc";
  readonly #metadata: Metadata;
  readonly #givenUp = Promise.withResolvers<never>();

  constructor(options: ExchangeOptions & { readonly metadata: Metadata }) {
    super(options);
    this.#metadata = options.metadata;
  }

  override header(name: string): string | undefined {
    const values = this.#metadata.get(name).filter((value) => typeof value === "string");
    return values.length === 0 ? undefined : values.join(", ");
  }

  /** Rejects when the handler is no longer waited for. */
  get givenUp(): Promise<never> {
    return this.#givenUp.promise;
  }

  cancel(): void {
    const gone = callerGone();
    this.abort(gone);
    this.#givenUp.reject(gone);
  }

  protected override expired(error: AppError): void {
    this.#givenUp.reject(error);
  }
}

/** What `work` returns or throws, as a promise. */
async function settle<T>(work: () => Promise<T>): Promise<T> {
  return work();
}

function toAppError(thrown: unknown): AppError {
  try {
    return AppError.from(thrown);
  } catch (error) {
    // a proxy or getter that throws when looked at
    return new AppError("ERR_INTERNAL", "internal", "a thrown value that cannot be read", { cause: error });
  }
}

function first(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === "string" ? value : undefined;
}

function leftMsOf(call: AnyCall): number {
  const deadline = call.getDeadline();
  return (typeof deadline === "number" ? deadline : deadline.getTime()) - Date.now();
}

/** Streams live as long as their caller wants; unary calls as long as the caller's deadline, capped by the server's. */
function budgetOf(call: AnyCall, { methodKind }: DescMethod, { deadlineMs }: GrpcSettings): Budget {
  const leftMs = Math.max(1, leftMsOf(call));
  const capMs = methodKind === "unary" ? deadlineMs : longestTimerMs;
  return leftMs < capMs ? { ms: leftMs, isCallers: true } : { ms: capMs, isCallers: false };
}

/** setTimeout takes no more. */
const longestTimerMs = 2 ** 31 - 1;
