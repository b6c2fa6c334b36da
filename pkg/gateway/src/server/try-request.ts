import { formatTraceparent, type Span } from "@plinth/kernel";
import type { Seat } from "@plinth/resilience";
import { addForwardingHeaders, type IdentityHeaders } from "../headers/outgoing.ts";
import type { RequestHead } from "../headers/request-head.ts";
import { toServiceTrailers } from "../headers/request-trailers.ts";
import { toGrpcTimeout } from "../protocols/grpc.ts";
import type { TryEnd } from "../upstream/outcomes.ts";
import type { Endpoint } from "../upstream/service-pool.ts";
import type { UpstreamCall, UpstreamHandlers, UpstreamRequest } from "../upstream/upstream.ts";
import type { Exchange } from "./exchange.ts";
import { methodLabel } from "./observer.ts";
import type { Route } from "./route.ts";

/** The span of one try at an instance. */
export function startTrySpan({ core, method, span: parent }: Exchange, route: Route, member: Endpoint): Span {
  const span = core.tracing.startSpan(methodLabel(method), { kind: "client", parent });
  if (span.sampled) {
    span.setAttribute("http.request.method", methodLabel(method));
    span.setAttribute("plinth.service", route.pool.service);
    span.setAttribute("plinth.instance", member.instanceId);
  }
  return span;
}

export interface TryRequestOptions {
  /** Path and query for the service. */
  readonly target: string;
  readonly identity: IdentityHeaders | undefined;
}

/** One client's request as it goes to instances, more than once if need be. */
export class TryRequests {
  readonly #exchange: Exchange;
  readonly #route: Route;
  readonly #head: RequestHead;
  readonly #options: TryRequestOptions;
  /** How many of the head's headers are the client's own. */
  readonly #ownHeaders: number;
  /** A try has met the end of a connection that had served before: what is idle besides may have ended as well. */
  isFresh = false;

  constructor(exchange: Exchange, route: Route, head: RequestHead, options: TryRequestOptions) {
    this.#exchange = exchange;
    this.#route = route;
    this.#head = head;
    this.#options = options;
    this.#ownHeaders = head.headers.length;
  }

  /** While no other is under way: the list of headers is the same for all of these. */
  to(member: Endpoint, span: Span, sentAtMs: number): UpstreamRequest {
    this.#head.headers.length = this.#ownHeaders;
    return this.#from(this.#head, { member, span, sentAtMs });
  }

  /** While others are under way. */
  beside(member: Endpoint, span: Span, sentAtMs: number): UpstreamRequest {
    const headers = this.#head.headers.slice(0, this.#ownHeaders);
    return this.#from({ ...this.#head, headers }, { member, span, sentAtMs });
  }

  #from(
    head: RequestHead,
    { member, span, sentAtMs }: { readonly member: Endpoint; readonly span: Span; readonly sentAtMs: number },
  ): UpstreamRequest {
    const exchange = this.#exchange;
    const route = this.#route;
    const { core, origin } = exchange;
    const { grpc, transcoding } = exchange;
    const isGrpc = grpc !== undefined || transcoding !== undefined;
    const leftMs = Math.min(
      route.deadlines ? exchange.expiresAtMs - sentAtMs : Infinity,
      grpc ? grpc.expiresAtMs - sentAtMs : Infinity,
    );
    const timeoutMs = leftMs === Infinity ? undefined : Math.max(1, Math.floor(leftMs));
    const headers = addForwardingHeaders(head, {
      host: route.hostHeader ?? head.host,
      forwardedFor: origin?.forwardedFor ?? exchange.clientAddress,
      forwardedHost: origin?.host ?? head.host,
      scheme: origin?.scheme ?? core.scheme,
      via: viaOf(exchange, head.via),
      requestId: exchange.requestId,
      traceparent: formatTraceparent(span),
      timeoutMs,
      identity: this.#options.identity,
      instance: member.identity,
      authorization: route.auth === undefined || route.auth.forwardToken ? head.authorization : undefined,
    });
    if (isGrpc && timeoutMs !== undefined) headers.push("grpc-timeout", toGrpcTimeout(timeoutMs));
    if (grpc && !head.takesTrailers) headers.push("te", "trailers");
    return {
      method: transcoding ? "POST" : exchange.method,
      target: this.#options.target,
      headers,
      body: transcoding ? transcoding.body() : (exchange.body?.forTry() ?? null),
      trailers: exchange.body && (() => toServiceTrailers(exchange.request.rawTrailers, route.requestRules)),
      upgrade: exchange.upgrade && "websocket",
      bodyGapMs: route.bodyGapMs,
      isFresh: this.isFresh,
      // A stream of gRPC may say nothing, not even its head, until it has a first message.
      ...(isGrpc && route.bodyGapMs !== undefined && { headersTimeoutMs: route.bodyGapMs }),
    };
  }
}

/** Sends a try to its instance, in the words of gRPC where the exchange is translated. */
export function sendTo(
  { upstream }: Endpoint,
  request: UpstreamRequest,
  handlers: UpstreamHandlers,
  { transcoding }: Exchange,
): UpstreamCall {
  return transcoding ? transcoding.send(upstream, request, handlers) : upstream.send(request, handlers);
}

/** Says of a try that is over how it ended. Once for each. */
export function endTry(
  { exchange, route: { pool, name: operation } }: { readonly exchange: Exchange; readonly route: Route },
  {
    seat,
    span,
    sentAtMs,
  }: { readonly seat: Seat<Endpoint>; readonly span: Span | undefined; readonly sentAtMs: number },
  {
    end,
    hasFailed,
    latencyMs,
  }: { readonly end: TryEnd; readonly hasFailed: boolean; readonly latencyMs: number | undefined },
): void {
  const elapsedMs = exchange.core.clock.monotonicMs() - sentAtMs;
  pool.release(seat, end, { hasFailed, elapsedMs, latencyMs, operation });
  exchange.core.observer.attempted(pool.service, end);
  span?.end();
}

/** By the version in which the request came. RFC 9110, 7.6.3. */
function viaOf({ request, core }: Exchange, before: string): string {
  const { httpVersion } = request;
  const own = httpVersion === "1.1" ? core.via : `${httpVersion === "2" ? "2.0" : httpVersion} ${core.viaName}`;
  return before === "" ? own : `${before}, ${own}`;
}
