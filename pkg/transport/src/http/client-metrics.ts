import { type Clock, currentContext, type Metrics, systemClock, type Tracing, tracingOf } from "@plinth/kernel";
import { ActiveByPeer, type ClientMetrics, oncePerApp } from "../client-metrics.ts";
import { type Propagation, propagate } from "../propagation.ts";
import { endHttpClientSpan, failHttpClientSpan, startHttpClientSpan } from "./client-span.ts";
import { methodLabel, statusLabel } from "./observe.ts";

/** A function like the `fetch` of the platform. */
export type Fetch = typeof globalThis.fetch;

/** How a request ended that got no reply. */
export type HttpClientOutcome = "cancelled" | "timeout" | "unreachable" | "reset" | "failed";

export interface HttpClientOptions {
  /** Absent: nothing is counted. */
  readonly metrics?: Metrics | undefined;
  /** Who is asked, from a small fixed set: the name of a service, never an address. */
  readonly peer: string;
  /** What sends. Default: the platform's `fetch`. */
  readonly fetch?: Fetch;
  /** Makes the spans of requests. Default: what made the span of the request being served, so that outside of one there is none. */
  readonly tracing?: Tracing | undefined;
  /** What of the request being served the peer is told: `none` where it is no service of yours. Default `all`. */
  readonly propagation?: Propagation | undefined;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/** A request under way, for clients that are no `fetch`. Call one of `replied` and `failed`, once. */
export interface ObservedRequest {
  /** What is to be sent besides the client's own headers. */
  readonly headers: Readonly<Record<string, string>>;
  /** @param status - 400 and above mark the span as failed: whoever asked did not get what it wanted. */
  replied(status: number): void;
  /** @param outcome - Undefined: as the error tells, by the codes of node and undici. */
  failed(outcome: HttpClientOutcome | undefined, error?: unknown): void;
}

/**
 * The same `fetch`, whose requests are counted and timed until the head of their reply: `http_client_request_duration_seconds`
 * with the reply's status, or how it failed, and `http_client_active_requests`. Each is a span, and takes along what
 * {@link propagate} hands on, except headers that it has already. Nothing else of requests and replies is changed.
 *
 * @throws {@link TransportError} `ERR_DEADLINE_EXCEEDED`, by the fetch: the request being served has no time left, and nothing was sent.
 * @example const ask = instrumentFetch({ metrics, peer: "billing" }); await ask(url, { signal });
 */
export function instrumentFetch({
  fetch: send = (input, init) => globalThis.fetch(input, init),
  ...options
}: HttpClientOptions): Fetch {
  const begin = observeHttpClient(options);
  return async (input, init) => {
    const isRequest = input instanceof Request;
    const request = begin(init?.method ?? (isRequest ? input.method : "GET"), isRequest ? input.url : input);
    try {
      const headers = new Headers(init?.headers ?? (isRequest ? input.headers : undefined));
      for (const [name, value] of Object.entries(request.headers)) {
        if (!headers.has(name)) headers.set(name, value);
      }
      const response = await send(input, { ...init, headers });
      request.replied(response.status);
      return response;
    } catch (thrown) {
      request.failed(outcomeOf(thrown, init?.signal ?? (isRequest ? input.signal : undefined)), thrown);
      throw thrown;
    }
  };
}

/**
 * What {@link instrumentFetch} stands on: metrics and spans of requests that anything else sends.
 * @returns Begins one. Throws {@link TransportError} `ERR_DEADLINE_EXCEEDED` when nothing is to be sent for want of time.
 */
export function observeHttpClient({
  metrics,
  peer,
  tracing,
  propagation,
  clock = systemClock,
}: Omit<HttpClientOptions, "fetch">): (method: string, url?: string | URL) => ObservedRequest {
  const meters = metrics && declare(metrics);
  meters?.active.count(peer, 0);
  return (given, url) => {
    const context = currentContext();
    const method = methodLabel(given.toUpperCase());
    const span = startHttpClientSpan(tracing ?? tracingOf(context?.span), { given, method, url, peer });
    const within = span ?? context?.span;
    const startedAtMs = clock.monotonicMs();
    const end = (status: string): void => {
      meters?.duration.observe({ peer, method, status }, (clock.monotonicMs() - startedAtMs) / 1e3, within);
    };
    const headers: Record<string, string> = {};
    try {
      propagate((name, value) => (headers[name] = value), { span: within, context, clock, propagation });
    } catch (thrown) {
      failHttpClientSpan(span, "timeout", thrown);
      end("timeout");
      throw thrown;
    }
    meters?.active.count(peer, 1);
    return {
      headers,
      replied(status) {
        meters?.active.count(peer, -1);
        end(statusLabel(status));
        endHttpClientSpan(span, status);
      },
      failed(given, error) {
        const outcome = given ?? outcomeOf(error, undefined);
        meters?.active.count(peer, -1);
        end(outcome);
        failHttpClientSpan(span, outcome, error);
      },
    };
  };
}

const declare = oncePerApp((metrics): ClientMetrics => {
  const active = new ActiveByPeer();
  metrics.gauge({
    name: "http_client_active_requests",
    help: "Requests to others that wait for their reply.",
    labels: ["peer"],
    collect: (gauge) => active.collect(gauge),
  });
  const duration = metrics.histogram({
    name: "http_client_request_duration_seconds",
    help: "Time from a request to the head of its reply, or to its failure: then the status is cancelled, timeout, unreachable, reset or failed.",
    labels: ["peer", "method", "status"],
    exemplars: true,
  });
  return { active, duration };
});

const unreachable = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
]);
const reset = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);
const timeout = new Set(["ETIMEDOUT", "UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT"]);

/** How a failed request ended. The platform's `fetch` tells why in the cause of a `TypeError`. */
function outcomeOf(thrown: unknown, signal: AbortSignal | null | undefined): HttpClientOutcome {
  if (nameOf(thrown) === "TimeoutError" || nameOf(signal?.reason) === "TimeoutError") return "timeout";
  if (signal?.aborted === true || nameOf(thrown) === "AbortError") return "cancelled";
  const code = codeOf(thrown) ?? (thrown instanceof Error ? codeOf(thrown.cause) : undefined) ?? "";
  if (unreachable.has(code)) return "unreachable";
  if (reset.has(code)) return "reset";
  return timeout.has(code) ? "timeout" : "failed";
}

function nameOf(value: unknown): unknown {
  return value instanceof Error ? value.name : undefined;
}

/** Of the first that has one: a name with several addresses fails with an error for each. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("code" in error && typeof error.code === "string") return error.code;
  return error instanceof AggregateError ? error.errors.map(codeOf).find((code) => code !== undefined) : undefined;
}
