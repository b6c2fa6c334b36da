import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import {
  AppError,
  type Clock,
  type ErrorBus,
  type Logger,
  type Metrics,
  randomHex,
  type RequestScopes,
  type Tracing,
} from "@plinth/kernel";
import type { Authenticator } from "../auth.ts";
import { createPeerTrust, type PeerTrust } from "../client-address.ts";
import { Deadlines } from "../deadlines.ts";
import { type FailureIds, failureIdsOf } from "../failure-ids.ts";
import { TransportError } from "../errors.ts";
import { callerGone, type Exchange, safeRequestIdOf } from "../exchange.ts";
import { type LoopDelay, overloaded } from "../loop-delay.ts";
import type { Middleware } from "../middleware.ts";
import type { RpcService } from "../rpc/service.ts";
import { isIncident } from "../status.ts";
import { isThenable } from "../thenable.ts";
import {
  budgetOf,
  CallExchange,
  callerIn,
  type CallOwner,
  expiryIn,
  idsIn,
  leftMsOf,
  textIn,
} from "./call-exchange.ts";
import type { Connection } from "./connections.ts";
import { decode, decodeAll, encode } from "./codec.ts";
import { CallFaults } from "./faults.ts";
import { isMeantForCallers, timeoutError, toCallError, toGrpcStatus } from "./errors.ts";
import { CallObserver } from "./observe.ts";
import { pump } from "./pump.ts";
import { type Served, servedMethods, unmatchedMethod, unseen } from "./served.ts";
import type { GrpcSettings } from "./settings.ts";
import { Stages, type StagesHost } from "./stages.ts";
import { Wire, type WireOwner } from "./wire.ts";

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
  /** Code of the user's around each call, each at its place among the layers. Default none. */
  readonly middlewares?: readonly Middleware[] | undefined;
  /** This instance: calls that name another are refused. Absent: none is. */
  readonly instanceId?: string | undefined;
  /** Finds out who asks. Absent: nobody is asked. */
  readonly authenticator?: Authenticator | undefined;
}

export interface ServeOptions {
  /** Leaves its calls out of metrics, traces and access log, and never refuses one for overload: for probes. Default false. */
  readonly isProbe?: boolean;
}

/** Puts recovery, trace, log context, metrics, deadline and middlewares around the handlers of RPC services. */
export class CallCore implements WireOwner, CallOwner, StagesHost {
  /** Calls whose stream has not closed yet. */
  readonly open = new Set<Wire>();
  readonly #options: CallOptions;
  readonly #observer: CallObserver;
  readonly #faults: CallFaults;
  readonly #stages: Stages;
  readonly #trust: PeerTrust;
  readonly #unaryDeadlines: Deadlines;
  readonly #streamDeadlines: Deadlines;
  readonly #served = new Map<string, Served>();
  readonly #unmatched: Served;

  constructor(options: CallOptions) {
    const { settings, log, metrics, clock } = options;
    this.#options = options;
    this.#faults = new CallFaults(options);
    this.#unaryDeadlines = new Deadlines(clock);
    this.#streamDeadlines = new Deadlines(clock);
    this.#observer = new CallObserver({
      metrics,
      log,
      settings,
      onFault: (thrown, exchange) => this.#faults.report(thrown, exchange),
    });
    this.#trust = createPeerTrust(settings.trustedPeers);
    this.#stages = new Stages({ ...options, overload: (_exchange, wire) => this.#refuseIfOverloaded(wire) }, this);
    this.#unmatched = unmatchedMethod(this.#observer.messagesOf("unmatched"));
  }

  serve(service: RpcService, { isProbe = false }: ServeOptions = {}): void {
    const methods = servedMethods(service, {
      isProbe,
      gate: this.#stages.gate,
      messagesOf: (name) => this.#observer.messagesOf(name),
    });
    for (const [path, served] of methods) this.#served.set(path, served);
  }

  /** Once no call is open any more. */
  close(): void {
    this.#unaryDeadlines.close();
    this.#streamDeadlines.close();
  }

  /** Serves a stream of HTTP/2 that is a call. */
  take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connection): void {
    const served = this.#served.get(headers[":path"] ?? "") ?? this.#unmatched;
    const { maxMessageBytes } = this.#options.settings;
    new Wire({ stream, headers, connection, served, maxMessageBytes }, this).start();
  }

  began(wire: Wire): void {
    this.open.add(wire);
    try {
      const expiresAtMs = expiryIn(wire.headers);
      wire.expiresAtMs = expiresAtMs ?? Infinity;
      if (this.#stages.shedsFirst && this.#isOverloaded(wire, this.#observer.active)) {
        this.#observer.shed(wire.served.name);
        wire.fail(toGrpcStatus(overloaded(), this.#idsOf(wire)));
        return;
      }
      wire.exchange = this.#open(wire);
      if (expiresAtMs === undefined) this.refuse(timeoutError(), wire);
    } catch (thrown) {
      this.#faults.recover(thrown, wire, this.#idsOf(wire));
      return;
    }
    if (wire.served.hasManyRequests) this.#enter(wire);
  }

  requested(wire: Wire, bytes: Buffer | undefined): void {
    if (bytes !== undefined) this.#enter(wire);
    else {
      const text = "the method takes one message, and none or several came";
      this.refuse(new TransportError("ERR_REQUEST_BODY", "unimplemented", text), wire);
    }
  }

  broken(wire: Wire, error: AppError): void {
    this.stop(wire, error);
  }

  closed(wire: Wire): void {
    this.open.delete(wire);
    const { exchange } = wire;
    if (exchange === undefined || exchange.isOver) return;
    if (leftMsOf(wire) <= 0) exchange.expire();
    else this.stop(wire, callerGone());
  }

  /** Ends a call that the server will not serve to its end; its handler is told. */
  stop(wire: Wire, reason: AppError): void {
    wire.exchange?.abort(reason);
    this.giveUp(wire, reason);
  }

  giveUp(wire: Wire, error: AppError): void {
    const { exchange } = wire;
    if (exchange === undefined || exchange.isOver) return;
    this.#answer(error, wire, exchange);
    wire.release(error);
  }

  handle(wire: Wire, exchange: CallExchange): void {
    const { handler, method, messages, hasManyRequests, hasManyReplies } = wire.served;
    try {
      if (!handler || !method)
        throw new TransportError("ERR_RPC_UNIMPLEMENTED", "unimplemented", "this server has no such method");
      const read = (bytes: Buffer): unknown => {
        messages.received++;
        return decode(method.input, bytes);
      };
      const failed = (thrown: unknown): void => this.#failed(thrown, wire, exchange);
      const result = handler(hasManyRequests ? decodeAll(wire, read) : read(wire.request ?? Buffer.alloc(0)), exchange);
      if (hasManyReplies) {
        const written = pump(result, wire, (reply) => this.#write(reply, wire));
        written.then(() => this.#finish(wire, exchange, () => wire.end()), failed);
      } else if (isThenable(result)) result.then((reply) => this.#reply(reply, wire, exchange), failed);
      else this.#reply(result, wire, exchange);
    } catch (thrown) {
      this.#failed(thrown, wire, exchange);
    }
  }

  refuse(thrown: unknown, wire: Wire): void {
    if (wire.exchange) this.#failed(thrown, wire, wire.exchange);
  }

  failedAround(thrown: unknown, exchange: Exchange): void {
    this.#faults.report(thrown, exchange);
  }

  #enter(wire: Wire): void {
    const { exchange } = wire;
    if (exchange === undefined || exchange.isOver) return;
    try {
      this.#stages.enter(wire, exchange);
    } catch (thrown) {
      this.#faults.recover(thrown, wire, idsIn(exchange));
    }
  }

  /** @param others - How many other calls are under way. */
  #isOverloaded({ served }: Wire, others: number): boolean {
    const { loopDelay, settings } = this.#options;
    if (served.isProbe) return false;
    if (settings.maxConcurrentCalls > 0 && others >= settings.maxConcurrentCalls) return true;
    if (settings.maxLoopDelayMs === 0 || loopDelay === undefined) return false;
    return loopDelay.nowMs() > settings.maxLoopDelayMs;
  }

  /** Where a middleware stands outside of that layer. */
  #refuseIfOverloaded(wire: Wire): undefined {
    if (!this.#isOverloaded(wire, this.#observer.active - 1)) return undefined;
    wire.reached = -1; // it is counted as shed
    this.#observer.shed(wire.served.name);
    throw overloaded();
  }

  isTrusted(wire: Wire): boolean {
    return this.#trust.isTrustedPeer(wire.connection.peer);
  }

  #idsOf(wire: Wire): FailureIds {
    return failureIdsOf(wire.headers, this.isTrusted(wire));
  }

  #open(wire: Wire): CallExchange {
    const { tracing, clock, settings, scopes } = this.#options;
    const { name, isProbe } = wire.served;
    const span = (isProbe ? unseen : tracing).startSpan(name, {
      kind: "server",
      parent: callerIn(wire.headers, () => this.isTrusted(wire)),
    });
    const given = textIn(wire.headers, "x-request-id");
    const kept = given !== undefined && this.isTrusted(wire) ? safeRequestIdOf(given) : undefined;
    const exchange = new CallExchange(wire, this, {
      requestId: kept ?? randomHex(16),
      span,
      clock,
      scopes,
      budget: budgetOf(wire, settings),
      deadlines: wire.served.isUnary ? this.#unaryDeadlines : this.#streamDeadlines,
    });
    if (!isProbe) this.#observer.began();
    return exchange;
  }

  #write(reply: unknown, { served: { method, messages } }: Wire): Uint8Array {
    if (!method) throw new TypeError("nothing is written for a method that nobody serves");
    const bytes = encode(method, reply);
    const { maxReplyBytes } = this.#options.settings;
    if (bytes.length > maxReplyBytes) {
      const text = `the reply has ${bytes.length} bytes, more than the ${maxReplyBytes} that this server sends in one message`;
      throw new TransportError("ERR_REPLY_TOO_LARGE", "resource_exhausted", text);
    }
    messages.sent++;
    return bytes;
  }

  #reply(reply: unknown, wire: Wire, exchange: CallExchange): void {
    if (exchange.isOver || exchange.stopped) return;
    let bytes: Uint8Array;
    try {
      bytes = this.#write(reply, wire);
    } catch (thrown) {
      this.#failed(thrown, wire, exchange);
      return;
    }
    this.#finish(wire, exchange, () => wire.reply(bytes));
  }

  #failed(thrown: unknown, wire: Wire, exchange: CallExchange): void {
    if (exchange.isOver || exchange.stopped) this.#faults.late(thrown, exchange);
    else this.#answer(thrown, wire, exchange);
  }

  /** Ends the call with an error. */
  #answer(thrown: unknown, wire: Wire, exchange: CallExchange): void {
    try {
      const isUnexpected = exchange.stopped === undefined && !AppError.is(thrown);
      const error = exchange.stopped ?? toCallError(thrown);
      exchange.error = error;
      // That a caller gave too little time, or stood still, is not the server's fault.
      const isCallers = error === exchange.stopped && (exchange.budget.isCallers || isMeantForCallers(error));
      const isFault = isUnexpected || isIncident(error.status) || error.code === "ERR_REPLY_TOO_LARGE";
      if (isFault && !isCallers && wire.reached >= 0)
        this.#faults.report(isUnexpected && error.status !== "internal" ? thrown : error, exchange);
      this.#finish(wire, exchange, () => wire.fail(toGrpcStatus(error, idsIn(exchange))));
    } catch (second) {
      this.#faults.recover(second, wire, idsIn(exchange));
    }
  }

  /** @param send - What goes to the caller. */
  #finish(wire: Wire, exchange: CallExchange, send: () => void): void {
    if (exchange.isOver) return;
    try {
      send();
    } catch (thrown) {
      this.#faults.recover(thrown, wire, idsIn(exchange));
    }
    exchange.end((thrown) => this.#faults.report(thrown, exchange));
    if (wire.served.isProbe) return;
    const tookMs = this.#options.clock.monotonicMs() - exchange.startedAtMs;
    const reached = { metrics: this.#stages.isCounted(wire), accessLog: this.#stages.isLogged(wire) };
    this.#observer.finished(exchange, tookMs, reached);
  }
}
