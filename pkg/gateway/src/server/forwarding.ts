import type { Duplex } from "node:stream";
import { formatTraceparent, type Scheduled, type Span } from "@plinth/kernel";
import type { Seat } from "@plinth/resilience";
import { addForwardingHeaders, type IdentityHeaders } from "../headers/outgoing.ts";
import { type ReplyHeaders, toClientTrailers } from "../headers/reply.ts";
import type { RequestHead } from "../headers/request-head.ts";
import { takeUpgrade } from "../protocols/client-upgrade.ts";
import { allowPause } from "../protocols/pause.ts";
import { reasonOf } from "../reasons.ts";
import type { Endpoint } from "../upstream/service-pool.ts";
import type { FailureKind, UpstreamCall, UpstreamFailure, UpstreamHandlers } from "../upstream/upstream.ts";
import type { Exchange, GatewayResponse } from "./exchange.ts";
import { methodLabel } from "./observer.ts";
import { failingStatuses, outcomeOf, reasonOfFailure } from "./outcomes.ts";
import { replyHead } from "./reply-head.ts";
import { type FailedTry, mayTryUnsent, retryInMs, TryTime } from "./retry-policy.ts";
import type { Route } from "./route.ts";

const misdirectedStatus = 421;
/** The body of a reply this small comes with its head; other heads are not kept waiting for their body. */
const smallBodyBytes = 16_384;
/** The end of a reply this short is joined to what goes before it. */
const oneWriteBytes = 4_096;

/** The second half of an exchange: one try at an instance, perhaps at others too, and the reply back to the client. */
export class Forwarding implements UpstreamHandlers {
  readonly #exchange: Exchange;
  readonly #route: Route;
  readonly #head: RequestHead;
  readonly #target: string;
  readonly #identity: IdentityHeaders | undefined;
  /** How many of the head's headers are the client's own. */
  readonly #ownHeaders: number;
  attempts = 0;
  instanceId: string | undefined;
  #seat: Seat<Endpoint> | undefined;
  /** Those that failed it. */
  #tried: Seat<Endpoint>[] | undefined;
  #call: UpstreamCall | undefined;
  #span: Span | undefined;
  #sentAtMs = 0;
  /** From then until the reply's head; undefined before. */
  #latencyMs: number | undefined;
  #hasFailed = false;
  /** Undefined where the route sets no time for a try. */
  #tryTime: TryTime | undefined;
  /** Until the next try. */
  #waiting: Scheduled | undefined;
  /** Length that the reply's head gives; -1 when it gives none. */
  #replyLength = -1;

  /** @param options.target - Path and query for the service. */
  constructor(
    exchange: Exchange,
    route: Route,
    head: RequestHead,
    options: { readonly target: string; readonly identity: IdentityHeaders | undefined },
  ) {
    this.#exchange = exchange;
    this.#route = route;
    this.#head = head;
    this.#target = options.target;
    this.#identity = options.identity;
    this.#ownHeaders = head.headers.length;
  }

  /** At an instance that was not tried before, as long as there is one. */
  send(): void {
    const exchange = this.#exchange;
    const { core, method } = exchange;
    const route = this.#route;
    const seat = route.pool.pick(this.#tried);
    if (!seat) {
      exchange.refuse("no_instance", undefined, ["retry-after", "1"]);
      return;
    }
    this.#seat = seat;
    if (this.attempts++ === 0) route.retries?.retries.begin();
    this.#hasFailed = false;
    this.#latencyMs = undefined;
    this.instanceId = seat.member.instanceId;
    this.#sentAtMs = core.clock.monotonicMs();
    route.retries?.perTry?.add((this.#tryTime ??= new TryTime(() => this.#tryExpired())), this.#sentAtMs);
    const span = core.tracing.startSpan(methodLabel(method), { kind: "client", parent: exchange.span });
    this.#span = span;
    if (span.sampled) {
      span.setAttribute("http.request.method", methodLabel(method));
      span.setAttribute("plinth.service", route.pool.service);
      span.setAttribute("plinth.instance", seat.member.instanceId);
    }
    const head = this.#head;
    head.headers.length = this.#ownHeaders;
    const headers = addForwardingHeaders(head, {
      host: route.hostHeader ?? head.host,
      forwardedFor: exchange.origin?.forwardedFor ?? exchange.clientAddress,
      forwardedHost: exchange.origin?.host ?? head.host,
      scheme: exchange.origin?.scheme ?? core.scheme,
      via: head.via === "" ? core.via : `${head.via}, ${core.via}`,
      requestId: exchange.requestId,
      traceparent: formatTraceparent(span),
      timeoutMs: route.deadlines && Math.max(1, Math.floor(exchange.expiresAtMs - this.#sentAtMs)),
      identity: this.#identity,
      instance: seat.member.identity,
      authorization: route.auth === undefined || route.auth.forwardToken ? head.authorization : undefined,
    });
    this.#call = seat.member.upstream.send(
      {
        method,
        target: this.#target,
        headers,
        body: exchange.body?.forTry() ?? null,
        upgrade: exchange.upgrade && "websocket",
        bodyGapMs: route.bodyGapMs,
      },
      this,
    );
  }

  onHead(status: number, headers: ReplyHeaders): void {
    const exchange = this.#exchange;
    try {
      if (status === misdirectedStatus && this.#seat?.member.identity !== undefined) {
        this.#refusedAsAnother(this.#seat);
        return;
      }
      const { response, core } = exchange;
      this.#tryTime?.list?.remove(this.#tryTime);
      this.#latencyMs = core.clock.monotonicMs() - this.#sentAtMs;
      this.#hasFailed = failingStatuses.has(status);
      if (this.#route.retries && this.#askedElsewhere(status, headers)) return;
      core.observer.replied(this.#route.pool.service, this.#latencyMs, this.#span);
      if (this.#span?.sampled === true) this.#span.setAttribute("http.response.status_code", status);
      if (this.#route.bodyGapMs !== undefined) allowPause(response.socket, this.#route.bodyGapMs);
      response.writeHead(status, replyHead(exchange, status, headers));
      const length = headers["content-length"];
      if (typeof length === "string" && exchange.method !== "HEAD") this.#replyLength = Number(length);
      if (this.#replyLength < 0 || this.#replyLength > smallBodyBytes) process.nextTick(flushHead, response);
    } catch (error) {
      exchange.fault(error);
    }
  }

  onUpgrade(headers: ReplyHeaders, socket: Duplex): void {
    const exchange = this.#exchange;
    try {
      this.#latencyMs = exchange.core.clock.monotonicMs() - this.#sentAtMs;
      exchange.core.observer.replied(this.#route.pool.service, this.#latencyMs, this.#span);
      this.#span?.setAttribute("http.response.status_code", 101);
      this.#ended("reply");
      takeUpgrade(exchange, headers, socket);
    } catch (error) {
      socket.destroy();
      exchange.fault(error);
    }
  }

  onData(chunk: Buffer): boolean {
    const exchange = this.#exchange;
    const { response } = exchange;
    try {
      exchange.bytes += chunk.length;
      if (exchange.bytes === this.#replyLength) {
        // As one string with the head it takes one plain write, as a buffer behind the head a gathering one.
        if (chunk.length <= oneWriteBytes) response.end(chunk.toString("latin1"), "latin1");
        else response.end(chunk);
        return true;
      }
      if (response.write(chunk)) return true;
      if (response.listenerCount("drain") === 0) response.on("drain", onDrain);
    } catch (error) {
      exchange.fault(error);
    }
    return false;
  }

  onEnd(trailers: ReplyHeaders): void {
    const exchange = this.#exchange;
    try {
      this.#ended("reply");
      const { response } = exchange;
      if (response.writableEnded) return;
      if (this.#head.takesTrailers && this.#replyLength < 0) response.addTrailers(toClientTrailers(trailers));
      response.end();
    } catch (error) {
      exchange.fault(error);
    }
  }

  onFailure(failure: UpstreamFailure): void {
    const exchange = this.#exchange;
    try {
      const { kind, cause } = failure;
      if (this.#seat) (this.#tried ??= []).push(this.#seat);
      this.#span?.fail(cause ?? new Error("no connection could be opened"));
      this.#ended(kind);
      if (exchange.response.writableEnded) return; // the reply was complete before its connection failed
      if (exchange.response.headersSent) exchange.cutOff(kind === "stalled" ? "reply_stalled" : "reply_cut_off");
      else if (kind === "unsendable") exchange.fault(cause);
      else if (mayTryUnsent(failure, this.#failed())) this.#again();
      else {
        const inMs = retryInMs(this.#route.retries, kind, this.#failed());
        if (inMs !== undefined) {
          this.#again(inMs);
          return;
        }
        const reason = reasonOfFailure[kind];
        exchange.refuse(reason, undefined, reasonOf(reason).status === 503 ? ["retry-after", "1"] : undefined);
      }
    } catch (error) {
      exchange.fault(error);
    }
  }

  /** Leaves a reply that says that it cannot serve for that of another try. */
  #askedElsewhere(status: number, headers: ReplyHeaders): boolean {
    const inMs = retryInMs(this.#route.retries, status, this.#failed(), {
      headers,
      nowMs: this.#exchange.core.clock.now(),
    });
    if (inMs === undefined) return false;
    const call = this.#call;
    if (this.#seat) (this.#tried ??= []).push(this.#seat);
    this.#span?.setAttribute("http.response.status_code", status);
    this.#ended("reply");
    call?.abort();
    this.#again(inMs);
    return true;
  }

  /** It has done nothing, and says so before anything else. RFC 9110, 15.5.20: any method may be sent again elsewhere. */
  #refusedAsAnother(seat: Seat<Endpoint>): void {
    const cause = new Error("another instance is at the address");
    this.#call?.abort();
    this.#route.pool.misdirected(seat);
    this.onFailure({ kind: "misdirected", sent: true, reused: false, cause });
  }

  /** Goes on reading the reply: the client has taken what it was given. */
  resume(): void {
    this.#call?.resume();
  }

  /** Breaks off what is under way at the instance, if anything is. */
  abort(): void {
    this.#waiting?.cancel();
    const call = this.#call;
    if (!call) return;
    this.#ended("aborted");
    call.abort();
  }

  #failed(): FailedTry {
    const { body, method, core, expiresAtMs } = this.#exchange;
    const remainingMs = this.#route.deadlines ? expiresAtMs - core.clock.monotonicMs() : Infinity;
    return { body, method, attempts: this.attempts, hasOther: this.#hasOther(), remainingMs };
  }

  #again(inMs = 0): void {
    const { core } = this.#exchange;
    core.observer.retried(this.#route.pool.service);
    if (inMs === 0) this.send();
    else this.#waiting = core.clock.schedule(inMs, () => this.#sendGuarded(), { keepAlive: false });
  }

  #sendGuarded(): void {
    this.#waiting = undefined;
    try {
      this.send();
    } catch (error) {
      this.#exchange.fault(error);
    }
  }

  /** The reply's head has not come in the time of one try. */
  #tryExpired(): void {
    this.#call?.abort();
    this.onFailure({
      kind: "timeout",
      sent: true,
      reused: false,
      cause: new Error("no reply within the time of a try"),
    });
  }

  #hasOther(): boolean {
    return this.#route.pool.seats.some((seat) => this.#tried?.includes(seat) !== true);
  }

  #ended(outcome: FailureKind | "reply" | "aborted"): void {
    this.#tryTime?.list?.remove(this.#tryTime);
    const seat = this.#seat;
    this.#call = undefined;
    this.#seat = undefined;
    if (!seat) return;
    const { pool } = this.#route;
    const { core } = this.#exchange;
    const elapsedMs = core.clock.monotonicMs() - this.#sentAtMs;
    pool.release(seat, outcomeOf(outcome, this.#hasFailed), { elapsedMs, latencyMs: this.#latencyMs });
    core.observer.attempted(pool.service, outcome);
    this.#span?.end();
  }
}

function onDrain(this: GatewayResponse): void {
  this.exchange?.forwarding?.resume();
}

/** Sends a head whose body is not there yet. */
function flushHead(response: GatewayResponse): void {
  if (!response.writableEnded && !response.destroyed) response.flushHeaders();
}
