import { type Duplex, Readable } from "node:stream";
import { formatTraceparent, type Span } from "@plinth/kernel";
import type { Outcome, Seat } from "@plinth/resilience";
import { addForwardingHeaders, type IdentityHeaders } from "../headers/outgoing.ts";
import { hstsHeader, type ReplyHeaders, toClientHeaders } from "../headers/reply.ts";
import type { RequestHead } from "../headers/request-head.ts";
import { type Reason, reasonOf } from "../reasons.ts";
import type { Endpoint } from "../upstream/service-pool.ts";
import type { FailureKind, UpstreamCall, UpstreamFailure, UpstreamHandlers } from "../upstream/upstream.ts";
import type { Exchange, GatewayResponse } from "./exchange.ts";
import type { RequestBody } from "./request-body.ts";
import { methodLabel } from "./observer.ts";
import type { Route } from "./route.ts";

const reasonOfFailure: Readonly<Record<FailureKind, Reason>> = {
  unreachable: "upstream_unreachable",
  misdirected: "upstream_misdirected",
  connect_timeout: "upstream_connect_timeout",
  busy: "instances_busy",
  timeout: "upstream_timeout",
  reset: "upstream_reset",
  stalled: "upstream_reset",
  invalid: "upstream_invalid",
  unsendable: "gateway_error",
};

/** Failures after which nothing can have happened at the instance. */
const neverArrived: ReadonlySet<FailureKind> = new Set<FailureKind>(["unreachable", "connect_timeout", "busy"]);
/** Replies with which an instance says that it cannot serve. */
const failingStatuses: ReadonlySet<number> = new Set([502, 503, 504]);
/** So many instances are tried while each one takes no connection, or its address turns out to be another's. */
const maxAttempts = 3;
const misdirectedStatus = 421;
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
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
    this.attempts++;
    this.instanceId = seat.member.instanceId;
    this.#sentAtMs = core.clock.monotonicMs();
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
      clientAddress: exchange.clientAddress,
      scheme: core.scheme,
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
        body: this.attempts > 1 ? bodyAgain(exchange.body) : (exchange.body ?? null),
        upgrade: exchange.upgrade && "websocket",
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
      this.#latencyMs = core.clock.monotonicMs() - this.#sentAtMs;
      this.#hasFailed = failingStatuses.has(status);
      core.observer.replied(this.#route.pool.service, this.#latencyMs, this.#span);
      if (this.#span?.sampled === true) this.#span.setAttribute("http.response.status_code", status);
      const flat = toClientHeaders(status, headers);
      flat.push("x-request-id", exchange.requestId);
      if (core.hsts !== undefined && headers[hstsHeader] === undefined) flat.push(hstsHeader, core.hsts);
      if (exchange.limitHeaders) flat.push(...exchange.limitHeaders);
      if (core.isDraining) {
        flat.push("connection", "close");
        exchange.isLast = true;
      }
      response.writeHead(status, flat);
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
      const { core, upgrade } = exchange;
      this.#latencyMs = core.clock.monotonicMs() - this.#sentAtMs;
      core.observer.replied(this.#route.pool.service, this.#latencyMs, this.#span);
      if (this.#span?.sampled === true) this.#span.setAttribute("http.response.status_code", 101);
      this.#ended("reply");
      const more = ["x-request-id", exchange.requestId, ...(exchange.limitHeaders ?? [])];
      if (upgrade?.open(headers, socket, more) === true) exchange.upgraded();
      else {
        socket.destroy();
        exchange.refuse("upstream_invalid");
      }
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

  onEnd(): void {
    const exchange = this.#exchange;
    try {
      this.#ended("reply");
      if (!exchange.response.writableEnded) exchange.response.end();
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
      else if (this.#mayRetry(failure)) {
        exchange.core.observer.retried(this.#route.pool.service);
        this.send();
      } else {
        const reason = reasonOfFailure[kind];
        exchange.refuse(reason, undefined, reasonOf(reason).status === 503 ? ["retry-after", "1"] : undefined);
      }
    } catch (error) {
      exchange.fault(error);
    }
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
    const call = this.#call;
    if (!call) return;
    this.#ended("aborted");
    call.abort();
  }

  /** Only when no try can have had an effect, and but once unless it is told at once. A body that was touched is gone. */
  #mayRetry({ kind, sent, reused }: UpstreamFailure): boolean {
    const { body, method } = this.#exchange;
    if (kind === "misdirected") {
      const isWhole = body === undefined || body.again !== undefined;
      return isWhole && this.attempts < maxAttempts && this.#hasOther();
    }
    if (body?.started === true) return false;
    if (!sent && kind === "unreachable") return this.attempts < maxAttempts && this.#hasOther();
    if (this.attempts > 1) return false;
    if (!sent && neverArrived.has(kind)) return this.#hasOther();
    // The instance closed an idle connection just as the request went out on it. Asking again is safe for safe methods.
    return kind === "reset" && reused && body === undefined && safeMethods.has(method);
  }

  #hasOther(): boolean {
    return this.#route.pool.seats.some((seat) => this.#tried?.includes(seat) !== true);
  }

  #ended(outcome: FailureKind | "reply" | "aborted"): void {
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

/** What fails to connect, or says that it cannot serve, speaks against an instance; a slow or broken reply may be the request's doing. */
function outcomeOf(end: FailureKind | "reply" | "aborted", hasFailed: boolean): Outcome {
  if (end === "reply") return hasFailed ? "failure" : "success";
  return end === "unreachable" || end === "connect_timeout" ? "local_failure" : "unknown";
}

/** What was sent to the instance before, whole; or the body itself, where it has not been touched. */
function bodyAgain(body: RequestBody | undefined): Readable | null {
  if (body === undefined) return null;
  return body.started && body.again !== undefined ? Readable.from([body.again]) : body;
}

function onDrain(this: GatewayResponse): void {
  this.exchange?.forwarding?.resume();
}

/** Sends a head whose body is not there yet. */
function flushHead(response: GatewayResponse): void {
  if (!response.writableEnded && !response.destroyed) response.flushHeaders();
}
