import type { DescMethod } from "@bufbuild/protobuf";
import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import {
  AppError,
  type Clock,
  type ErrorBus,
  type Logger,
  type Metrics,
  parseTraceparent,
  randomHex,
  type RequestScopes,
  runInContext,
  type Tracing,
} from "@plinth/kernel";
import { TransportError } from "../errors.ts";
import { safeRequestIdOf, toUnexpected } from "../exchange.ts";
import { type LoopDelay, overloaded } from "../loop-delay.ts";
import { type ErasedHandler, methodName, type RpcService } from "../rpc/service.ts";
import { isIncident } from "../status.ts";
import { type AnyCall, budgetOf, CallExchange, leftMsOf, textIn } from "./call-exchange.ts";
import { decode, decodeAll, encode } from "./codec.ts";
import { type CallIds, toGrpcStatus } from "./errors.ts";
import { CallObserver, type MessageCount } from "./observe.ts";
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
  /** How late the event loop runs. Absent: no call is refused for that. */
  readonly loopDelay?: LoopDelay | undefined;
}

export interface ImplementOptions {
  /** Leaves its calls out of metrics, traces and access log, and never refuses one for overload: for probes. Default false. */
  readonly isProbe?: boolean;
}

/** Puts recovery, trace, log context, metrics and deadline around the handlers of RPC services. */
export class CallCore {
  readonly #options: CallOptions;
  readonly #observer: CallObserver;

  constructor(options: CallOptions) {
    const { settings, log, metrics } = options;
    this.#options = options;
    this.#observer = new CallObserver({
      metrics,
      accessLog: settings.accessLog ? log.named("access") : undefined,
      onFault: (thrown, exchange) => this.#report(thrown, exchange),
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
        const name = methodName(method);
        // probes are counted nowhere
        const messages = isProbe ? { received: 0, sent: 0 } : this.#observer.messagesOf(name);
        const isUnary = method.methodKind === "unary";
        return [method.localName, this.#handle(method, handler, { name, isUnary, isProbe, messages })];
      }),
    );
  }

  /** For calls of methods that nobody serves. */
  unmatched(): handleBidiStreamingCall<Buffer, Buffer> {
    const name = "unmatched";
    const served: Served = { name, isUnary: true, isProbe: false, messages: this.#observer.messagesOf(name) };
    const refuse = async (): Promise<never> => {
      throw new TransportError("ERR_RPC_UNIMPLEMENTED", "unimplemented", "this server has no such method");
    };
    return (call) =>
      this.#serve(
        served,
        call,
        refuse,
        () => {},
        (status) => call.emit("error", status),
      );
  }

  #handle(method: DescMethod, handler: ErasedHandler, served: Served): UntypedHandleCall {
    const { input } = method;
    const { messages } = served;
    const read = (bytes: Buffer): unknown => {
      messages.received++;
      return decode(input, bytes);
    };
    const write = (reply: unknown): Buffer => {
      const bytes = encode(method, reply);
      messages.sent++;
      return bytes;
    };
    switch (method.methodKind) {
      case "unary": {
        const handle: handleUnaryCall<Buffer, Buffer> = (call, callback) =>
          this.#serve(
            served,
            call,
            async (exchange) => write(await handler(read(call.request), exchange)),
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
            async (exchange) => write(await handler(decodeAll(call, { read, exchange }), exchange)),
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
            (exchange) => pump(handler(read(call.request), exchange), { call, method, write, exchange }),
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
            (exchange) =>
              pump(handler(decodeAll(call, { read, exchange }), exchange), { call, method, write, exchange }),
            () => call.end(),
            (status) => call.emit("error", status),
          );
        return handle;
      }
    }
  }

  /** Runs one call to its end. */
  #serve<Reply>(
    served: Served,
    call: AnyCall,
    work: (exchange: CallExchange) => Promise<Reply>,
    succeed: (reply: Reply) => void,
    fail: (status: GrpcFailure) => void,
  ): void {
    let exchange: CallExchange;
    try {
      if (!served.isProbe && this.#isOverloaded()) {
        this.#observer.shed(served.name);
        fail(toFailure(overloaded(), idsOf(call)));
        return;
      }
      exchange = this.#open(served, call);
    } catch (thrown) {
      this.#recover(thrown, served, idsOf(call), fail);
      return;
    }
    runInContext(exchange, () => {
      const working = settle(() => work(exchange));
      Promise.race([working, exchange.givenUp])
        .then(
          (reply) => {
            this.#finish(exchange, served);
            succeed(reply);
          },
          (thrown: unknown) => fail(this.#fail(exchange, served, thrown)),
        )
        .catch((thrown: unknown) => this.#recover(thrown, served, idsIn(exchange), fail));
      working.catch((thrown: unknown) => this.#lateFailure(thrown, exchange));
    });
  }

  #isOverloaded(): boolean {
    const { loopDelay, settings } = this.#options;
    return settings.maxLoopDelayMs > 0 && loopDelay !== undefined && loopDelay.nowMs() > settings.maxLoopDelayMs;
  }

  #open({ name, isUnary, isProbe }: Served, call: AnyCall): CallExchange {
    const { tracing, clock, settings, scopes } = this.#options;
    const span = tracing.startSpan(name, {
      kind: "server",
      parent: parseTraceparent(textIn(call.metadata, "traceparent")) ?? null,
    });
    const exchange = new CallExchange({
      requestId: safeRequestIdOf(textIn(call.metadata, "x-request-id")) ?? randomHex(16),
      span,
      clock,
      scopes,
      budget: budgetOf(call, isUnary, settings),
      metadata: call.metadata,
    });
    exchange.route = name;
    call.on("cancelled", () => {
      if (exchange.isOver) return; // it comes after every call
      if (leftMsOf(call) <= 0) exchange.expire();
      else exchange.cancel();
    });
    if (!isProbe) this.#observer.began();
    return exchange;
  }

  #fail(exchange: CallExchange, served: Served, thrown: unknown): GrpcFailure {
    const isUnexpected = exchange.stopped === undefined && !AppError.is(thrown);
    const error = exchange.stopped ?? (AppError.is(thrown) ? thrown : toError(thrown));
    exchange.error = error;
    // That a caller gave too little time is not the server's fault.
    const isCallers = error === exchange.stopped && exchange.budget.isCallers;
    if (isUnexpected || (isIncident(error.status) && !isCallers))
      this.#report(isUnexpected && error.status !== "internal" ? thrown : error, exchange);
    this.#finish(exchange, served);
    return toFailure(error, idsIn(exchange));
  }

  #finish(exchange: CallExchange, { isProbe }: Served): void {
    exchange.end((thrown) => this.#report(thrown, exchange));
    if (!isProbe) this.#observer.finished(exchange, this.#options.clock.monotonicMs() - exchange.startedAtMs);
  }

  #lateFailure(thrown: unknown, exchange: CallExchange): void {
    if (exchange.stopped === undefined || thrown === exchange.stopped) return;
    this.#options.log.debug("a handler failed after it had been told to stop", { error: thrown });
  }

  #report(thrown: unknown, exchange: CallExchange): void {
    const { errors } = this.#options;
    runInContext(exchange, () => errors.report(thrown, { origin: "rpc", attributes: { method: exchange.route } }));
  }

  /** The outermost layer: what surrounds the handler has failed, or the status could not be sent. */
  #recover(thrown: unknown, { name }: Served, ids: CallIds, fail: (status: GrpcFailure) => void): void {
    const { errors } = this.#options;
    const context = { requestId: ids.requestId, span: { traceId: ids.traceId, spanId: randomHex(8), sampled: false } };
    const report = (fault: unknown): void =>
      runInContext(context, () => void errors.report(fault, { origin: "rpc", attributes: { method: name } }));
    report(thrown);
    try {
      fail(toFailure(new AppError("ERR_INTERNAL", "internal", "a layer around the handler failed"), ids));
    } catch (second) {
      report(second);
    }
  }
}

/** What is known of a method without its messages. */
interface Served extends Required<ImplementOptions> {
  readonly name: string;
  readonly isUnary: boolean;
  readonly messages: MessageCount;
}

/** A status as grpc-js takes it for a failure. */
type GrpcFailure = Error & ReturnType<typeof toGrpcStatus>;

function toFailure(error: AppError, ids: CallIds): GrpcFailure {
  return Object.assign(new Error(error.code), toGrpcStatus(error, ids));
}

function idsIn({ span, requestId }: CallExchange): CallIds {
  return { traceId: span.traceId, requestId };
}

/** For a call without an exchange: the caller's own ids where they are well formed. */
function idsOf({ metadata }: AnyCall): CallIds {
  return {
    traceId: parseTraceparent(textIn(metadata, "traceparent"))?.traceId ?? randomHex(16),
    requestId: safeRequestIdOf(textIn(metadata, "x-request-id")) ?? randomHex(16),
  };
}

/** What `work` returns or throws, as a promise. */
async function settle<T>(work: () => Promise<T>): Promise<T> {
  return work();
}

function toError(thrown: unknown): AppError {
  try {
    return toUnexpected(thrown);
  } catch (error) {
    // a proxy or getter that throws when looked at
    return new AppError("ERR_INTERNAL", "internal", "a thrown value that cannot be read", { cause: error });
  }
}
