import { create, type DescMethod, fromBinary, toBinary } from "@bufbuild/protobuf";
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  ServiceDefinition,
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
  runInContext,
  type Tracing,
} from "@plinth/kernel";
import { Exchange } from "../exchange.ts";
import { type ErasedHandler, methodName, type RpcService } from "../rpc/service.ts";
import { toHttpStatus } from "../status.ts";
import { toGrpcStatus } from "./errors.ts";
import type { GrpcSettings } from "./settings.ts";

export interface CallOptions {
  readonly settings: GrpcSettings;
  readonly log: Logger;
  readonly errors: ErrorBus;
  readonly metrics: Metrics;
  readonly tracing: Tracing;
  readonly clock: Clock;
}

/** What grpc-js gives for every kind of call. */
interface AnyCall {
  readonly metadata: Metadata;
  getDeadline(): Date | number;
  on(event: "cancelled", listener: () => void): unknown;
}

/** The definition of a service as grpc-js wants it, from its descriptor. */
export function toServiceDefinition({ descriptor }: RpcService): ServiceDefinition {
  return Object.fromEntries(
    descriptor.methods.map((method) => [
      method.localName,
      {
        path: `/${methodName(method)}`,
        requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
        responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
        requestSerialize: (message: Record<string, unknown>) => encode(method.input, message),
        requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
        responseSerialize: (message: Record<string, unknown>) => encode(method.output, message),
        responseDeserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
      },
    ]),
  );
}

function encode(schema: DescMethod["input"], message: Record<string, unknown>): Buffer {
  const { buffer, byteOffset, byteLength } = toBinary(schema, create(schema, message));
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Puts recovery, trace, log context, metrics and deadline around the handlers of RPC services. */
export class CallCore {
  readonly #options: CallOptions;
  readonly #duration: Histogram<"method" | "status">;

  constructor(options: CallOptions) {
    this.#options = options;
    this.#duration = options.metrics.histogram({
      name: "grpc_server_call_duration_seconds",
      help: "Time from the call's start to its status.",
      labels: ["method", "status"],
    });
  }

  implement({ descriptor, handlers }: RpcService): UntypedServiceImplementation {
    return Object.fromEntries(
      descriptor.methods.map((method): [string, UntypedHandleCall] => {
        const handler = handlers[method.localName];
        if (!handler) throw new TypeError(`${descriptor.typeName} has no handler for ${method.localName}`);
        return [method.localName, this.#handle(method, handler)];
      }),
    );
  }

  #handle(method: DescMethod, handler: ErasedHandler): UntypedHandleCall {
    switch (method.methodKind) {
      case "unary": {
        const handle: handleUnaryCall<object, object> = (call, callback) =>
          void this.#serve(method, call, async (exchange) => handler(call.request, exchange)).then(
            (reply) => callback(null, reply as object),
            (failure: GrpcFailure) => callback(failure.status),
          );
        return handle;
      }
      case "client_streaming": {
        const handle: handleClientStreamingCall<object, object> = (call, callback) =>
          void this.#serve(method, call, async (exchange) => handler(call, exchange)).then(
            (reply) => callback(null, reply as object),
            (failure: GrpcFailure) => callback(failure.status),
          );
        return handle;
      }
      case "server_streaming": {
        const handle: handleServerStreamingCall<object, object> = (call) =>
          void this.#serve(method, call, (exchange) =>
            pump(handler(call.request, exchange), call, exchange.signal),
          ).then(
            () => call.end(),
            (failure: GrpcFailure) => call.emit("error", failure.status),
          );
        return handle;
      }
      case "bidi_streaming": {
        const handle: handleBidiStreamingCall<object, object> = (call) =>
          void this.#serve(method, call, (exchange) => pump(handler(call, exchange), call, exchange.signal)).then(
            () => call.end(),
            (failure: GrpcFailure) => call.emit("error", failure.status),
          );
        return handle;
      }
    }
  }

  /** Runs one call to its end. @throws {@link GrpcFailure} and nothing else. */
  async #serve(method: DescMethod, call: AnyCall, work: (exchange: Exchange) => Promise<unknown>): Promise<unknown> {
    const { tracing, clock, settings, errors } = this.#options;
    const name = methodName(method);
    const span = tracing.startSpan(name, {
      kind: "server",
      parent: parseTraceparent(first(call.metadata, "traceparent")) ?? null,
      attributes: { "rpc.system.name": "grpc", "rpc.method": name },
    });
    const expired = Promise.withResolvers<never>();
    expired.promise.catch(() => undefined); // it loses the race when the handler is faster
    const exchange = new Exchange({
      requestId: first(call.metadata, "x-request-id") ?? randomHex(16),
      span,
      clock,
      budgetMs: budgetOf(call, method, settings),
      onDeadline: expired.reject,
    });
    exchange.route = name;
    call.on("cancelled", () => exchange.abort(new AppError("ERR_CANCELLED", "cancelled", "the caller has gone")));
    try {
      const reply = await runInContext(exchange, () => Promise.race([work(exchange), expired.promise]));
      this.#finish(exchange, "ok");
      return reply;
    } catch (thrown) {
      const error = AppError.from(thrown);
      exchange.error = error;
      if (toHttpStatus(error.status) >= 500) {
        runInContext(exchange, () => errors.report(thrown, { origin: "rpc", attributes: { method: name } }));
      }
      this.#finish(exchange, error.status);
      throw new GrpcFailure(error, span.traceId);
    }
  }

  #finish(exchange: Exchange, status: string): void {
    const { clock, settings, log } = this.#options;
    const tookMs = clock.monotonicMs() - exchange.startedAtMs;
    const { span, error, route } = exchange;
    exchange.end();
    this.#duration.observe({ method: route, status }, tookMs / 1e3);
    span.setAttribute("rpc.response.status_code", status);
    if (error && toHttpStatus(error.status) >= 500) span.fail(error);
    span.end();
    if (!settings.accessLog || !log.isEnabled("info")) return;
    runInContext(exchange, () =>
      log.info("call", {
        method: route,
        status,
        duration_ms: Math.round(tookMs * 1e3) / 1e3,
        ...(error ? { code: error.code } : {}),
      }),
    );
  }
}

/** The end of a call that failed, ready for the wire. */
class GrpcFailure extends Error {
  readonly status: ReturnType<typeof toGrpcStatus> & Error;

  constructor(error: AppError, traceId: string) {
    super(error.code, { cause: error });
    this.status = Object.assign(new Error(error.code), toGrpcStatus(error, traceId));
  }
}

/** Writes what `replies` yields as fast as the caller reads; stops, and tells the iterable, when the call is over. */
async function pump(
  replies: unknown,
  call: { write(message: object): boolean; once(event: "drain", listener: () => void): unknown },
  signal: AbortSignal,
): Promise<void> {
  for await (const reply of replies as AsyncIterable<object>) {
    signal.throwIfAborted();
    if (!call.write(reply)) await drained(call, signal);
  }
}

function drained(call: { once(event: "drain", listener: () => void): unknown }, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    call.once("drain", () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
  });
}

function first(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return typeof value === "string" ? value : undefined;
}

/** Streams live as long as their caller wants; unary calls as long as the caller's deadline, capped by the server's. */
function budgetOf(call: AnyCall, method: DescMethod, { deadlineMs }: GrpcSettings): number {
  const deadline = call.getDeadline();
  const leftMs = (typeof deadline === "number" ? deadline : deadline.getTime()) - Date.now();
  const capMs = method.methodKind === "unary" ? deadlineMs : longestTimerMs;
  return Math.max(1, Math.min(leftMs, capMs));
}

/** setTimeout takes no more. */
const longestTimerMs = 2 ** 31 - 1;
