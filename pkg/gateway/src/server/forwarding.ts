import type { Duplex } from "node:stream";
import type { Scheduled, Span } from "@plinth/kernel";
import type { Seat } from "@plinth/resilience";
import { replyHeader, type ReplyHeaders } from "../headers/reply.ts";
import type { RequestHead } from "../headers/request-head.ts";
import { takeUpgrade } from "../protocols/client-upgrade.ts";
import { isUnavailable } from "../protocols/grpc.ts";
import { allowPause } from "../protocols/pause.ts";
import { Alarm } from "../upstream/alarm.ts";
import type { InstanceWish } from "../upstream/instance-choice.ts";
import type { TryEnd } from "../upstream/outcomes.ts";
import type { Endpoint } from "../upstream/service-pool.ts";
import type { UpstreamCall, UpstreamFailure } from "../upstream/upstream.ts";
import type { Exchange } from "./exchange.ts";
import { type Hedged, Hedges, type Try } from "./hedges.ts";
import { keepCaller, refuseFailed, refuseUnpicked } from "./picking.ts";
import { endWith, flushHead, replyHead } from "./reply-head.ts";
import { hasFailed, isForAnother, trailersFor } from "./reply-meaning.ts";
import { type FailedTry, failedInMs, lateTry, retryInMs } from "./retry-policy.ts";
import type { Route } from "./route.ts";
import { endTry, sendTo, startTrySpan, type TryRequestOptions, TryRequests } from "./try-request.ts";

/** The body of a reply this small comes with its head; other heads are not kept waiting for their body. */
const smallBodyBytes = 16_384;

/** The second half of an exchange: one try at an instance, perhaps at others too, and the reply back to the client. */
export class Forwarding implements Hedged {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly #head: RequestHead;
  readonly requests: TryRequests;
  readonly #wish: InstanceWish | undefined;
  attempts = 0;
  instanceId: string | undefined;
  #seat: Seat<Endpoint> | undefined;
  /** Those that failed it. */
  #tried: Seat<Endpoint>[] | undefined;
  #call: UpstreamCall | undefined;
  #span: Span | undefined;
  #sentAtMs = 0;
  /** From the last try to the head of its reply, in milliseconds; undefined before. */
  latencyMs: number | undefined;
  /** Undefined where none may be sent, or the client has its reply. */
  #hedges: Hedges | undefined;
  #hasFailed = false;
  /** Undefined where the route sets no time for a try. */
  #tryTime: Alarm | undefined;
  /** Until the next try. */
  #waiting: Scheduled | undefined;
  /** Length that the reply's head gives; -1 when it gives none. */
  #replyLength = -1;

  /** @param options.target - Path and query for the service. */
  constructor(
    exchange: Exchange,
    route: Route,
    head: RequestHead,
    options: TryRequestOptions & { readonly wish?: InstanceWish | undefined },
  ) {
    this.exchange = exchange;
    this.route = route;
    this.#head = head;
    this.requests = new TryRequests(exchange, route, head, options);
    this.#wish = options.wish;
  }

  /** At an instance that was not tried before, as long as there is one. */
  send(): void {
    const { exchange, route } = this;
    const { core } = exchange;
    const seat = route.pool.pick(this.#tried, this.#wish, route.name);
    if (!seat) {
      refuseUnpicked(exchange, route);
      return;
    }
    this.#seat = seat;
    if (this.attempts++ === 0) {
      route.retries?.retries.begin();
      if (route.hedging) this.#hedges = Hedges.begin(this, route.hedging);
    }
    this.#hasFailed = false;
    this.latencyMs = undefined;
    this.instanceId = seat.member.instanceId;
    this.#sentAtMs = core.clock.monotonicMs();
    route.retries?.perTry?.add((this.#tryTime ??= new Alarm(() => this.#tryExpired())), this.#sentAtMs);
    this.#span = startTrySpan(exchange, route, seat.member);
    this.#call = sendTo(seat.member, this.requests.to(seat.member, this.#span, this.#sentAtMs), this, exchange);
  }

  onHead(status: number, headers: ReplyHeaders): void {
    const exchange = this.exchange;
    try {
      const seat = this.#seat;
      if (seat?.member.identity !== undefined && isForAnother(exchange, status, headers)) {
        this.#refusedAsAnother(seat);
        return;
      }
      const { response, core } = exchange;
      this.#tryTime?.stop();
      this.latencyMs = core.clock.monotonicMs() - this.#sentAtMs;
      this.#hasFailed = hasFailed(exchange, this.route, status, headers);
      if (this.#hedges && this.#leftToHedges(this.#hedges, status)) return;
      if (this.route.retries && this.#askedElsewhere(status, headers)) return;
      core.observer.replied(this.route.pool.service, this.latencyMs, this.#span);
      if (this.#span?.sampled === true) this.#span.setAttribute("http.response.status_code", status);
      if (this.route.bodyGapMs !== undefined) allowPause(response.socket, this.route.bodyGapMs);
      const lines = replyHead(exchange, status, headers);
      if (this.#wish) keepCaller(exchange, lines, this.#seat?.member, this.#wish);
      response.writeHead(status, lines);
      const length = replyHeader(headers, "content-length");
      if (length !== undefined && exchange.method !== "HEAD" && !exchange.encoder) this.#replyLength = Number(length);
      if (this.#replyLength < 0 || this.#replyLength > smallBodyBytes) process.nextTick(flushHead, response);
    } catch (error) {
      exchange.fault(error);
    }
  }

  onUpgrade(headers: ReplyHeaders, socket: Duplex): void {
    const exchange = this.exchange;
    try {
      this.latencyMs = exchange.core.clock.monotonicMs() - this.#sentAtMs;
      exchange.core.observer.replied(this.route.pool.service, this.latencyMs, this.#span);
      this.#span?.setAttribute("http.response.status_code", 101);
      const member = this.#seat?.member;
      this.#ended("reply");
      takeUpgrade(exchange, headers, socket, (lines) => keepCaller(exchange, lines, member, this.#wish));
    } catch (error) {
      socket.destroy();
      exchange.fault(error);
    }
  }

  onData(chunk: Buffer): boolean {
    const exchange = this.exchange;
    const { response } = exchange;
    try {
      if (exchange.encoder) return exchange.encoder.write(chunk);
      exchange.bytes += chunk.length;
      if (exchange.bytes === this.#replyLength) {
        endWith(response, chunk);
        return true;
      }
      if (response.write(chunk)) return true;
      response.awaitRoom();
    } catch (error) {
      exchange.fault(error);
    }
    return false;
  }

  onEnd(trailers: ReplyHeaders): void {
    const exchange = this.exchange;
    try {
      if (exchange.grpc && isUnavailable(trailers)) this.#hasFailed = true;
      this.#ended("reply");
      const { response } = exchange;
      if (response.writableEnded) return;
      const takesTrailers = (this.#head.takesTrailers || response.isStream) && this.#replyLength < 0;
      const lines = takesTrailers ? trailersFor(exchange, trailers) : [];
      if (exchange.encoder) exchange.encoder.end(lines);
      else {
        if (takesTrailers) response.addTrailers(lines);
        response.end();
      }
    } catch (error) {
      exchange.fault(error);
    }
  }

  onFailure(failure: UpstreamFailure): void {
    const exchange = this.exchange;
    try {
      const { kind, cause } = failure;
      if (this.#seat) this.tried(this.#seat);
      this.#span?.fail(cause ?? new Error("no connection could be opened"));
      this.#ended(kind);
      if (exchange.response.writableEnded) return; // the reply was complete before its connection failed
      if (exchange.response.headersSent) exchange.cutOff(kind === "stalled" ? "reply_stalled" : "reply_cut_off");
      else if (kind === "unsendable") exchange.fault(cause);
      else if (this.#hedges?.isOpen !== true) this.giveUp(failure);
    } catch (error) {
      exchange.fault(error);
    }
  }

  /** No try is under way any more: begins another, or answers. */
  giveUp(failure: UpstreamFailure): void {
    this.requests.isFresh ||= failure.reused;
    const inMs = failedInMs(this.route.retries, failure, this.#failed());
    if (inMs === undefined) refuseFailed(this.exchange, failure.kind);
    else this.#again(inMs);
  }

  get isTrying(): boolean {
    return this.#seat !== undefined;
  }

  get others(): readonly Seat<Endpoint>[] {
    return this.#seat ? [...(this.#tried ?? []), this.#seat] : (this.#tried ?? []);
  }

  /** It is not asked again as long as there is another. */
  tried(seat: Seat<Endpoint>): void {
    (this.#tried ??= []).push(seat);
  }

  /** Goes on with a try that has answered before its own, which is broken off. */
  adopt({ seat, span, sentAtMs, call }: Try): void {
    this.#hedges = undefined;
    this.abort();
    this.#seat = seat;
    this.#span = span;
    this.#sentAtMs = sentAtMs;
    this.#call = call;
    this.instanceId = seat.member.instanceId;
  }

  /** A try beside this one may still answer better; without one, the reply at hand is the client's. */
  #leftToHedges(hedges: Hedges, status: number): boolean {
    if (this.#hasFailed && hedges.isOpen) {
      this.#leave(status);
      return true;
    }
    if (!this.#hasFailed) hedges.observe();
    hedges.close();
    this.#hedges = undefined;
    return false;
  }

  /** Leaves a reply that says that it cannot serve for that of another try. */
  #askedElsewhere(status: number, headers: ReplyHeaders): boolean {
    const inMs = retryInMs(this.route.retries, status, this.#failed(), {
      headers,
      nowMs: this.exchange.core.clock.now(),
    });
    if (inMs === undefined) return false;
    this.#leave(status);
    this.#again(inMs);
    return true;
  }

  /** Reads no further in a reply that the client does not get. */
  #leave(status: number): void {
    const call = this.#call;
    if (this.#seat) this.tried(this.#seat);
    this.#span?.setAttribute("http.response.status_code", status);
    this.#ended("reply");
    call?.abort();
  }

  /** It has done nothing, and says so before anything else. RFC 9110, 15.5.20: any method may be sent again elsewhere. */
  #refusedAsAnother(seat: Seat<Endpoint>): void {
    const cause = new Error("another instance is at the address");
    this.#call?.abort();
    this.route.pool.misdirected(seat);
    this.onFailure({ kind: "misdirected", sent: true, reused: false, cause });
  }

  /** The client has taken what it was given. */
  resume(): void {
    const { encoder } = this.exchange;
    if (encoder) encoder.resume();
    else this.resumeService();
  }

  /** Goes on reading the reply. */
  resumeService(): void {
    this.#call?.resume();
  }

  /** Breaks off what is under way at the instance, if anything is. Of a reply that is there by its length only the end is to come. */
  abort(): void {
    this.#hedges?.close();
    this.#waiting?.cancel();
    const call = this.#call;
    const isWhole = this.#replyLength === this.exchange.bytes;
    this.#ended(isWhole ? "reply" : "aborted");
    if (!isWhole) call?.abort();
  }

  #failed(): FailedTry {
    const { body, method, core, expiresAtMs } = this.exchange;
    const remainingMs = this.route.deadlines ? expiresAtMs - core.clock.monotonicMs() : Infinity;
    return { body, method, attempts: this.attempts, hasOther: this.route.pool.hasOther(this.#tried), remainingMs };
  }

  #again(inMs = 0): void {
    const { core } = this.exchange;
    core.observer.retried(this.route.pool.service);
    if (inMs === 0) this.send();
    else this.#waiting = core.clock.schedule(inMs, () => this.#sendGuarded(), { keepAlive: false });
  }

  #sendGuarded(): void {
    this.#waiting = undefined;
    try {
      this.send();
    } catch (error) {
      this.exchange.fault(error);
    }
  }

  /** The reply's head has not come in the time of one try. */
  #tryExpired(): void {
    this.#call?.abort();
    this.onFailure(lateTry());
  }

  #ended(end: TryEnd): void {
    this.#tryTime?.stop();
    this.#call = undefined;
    const seat = this.#seat;
    this.#seat = undefined;
    if (!seat) return;
    const told = { end, hasFailed: this.#hasFailed, latencyMs: this.latencyMs };
    endTry(this, { seat, span: this.#span, sentAtMs: this.#sentAtMs }, told);
  }
}
