import { type Clock, currentContext, type Metrics, type SpanContext, systemClock } from "@plinth/kernel";
import { ActiveByPeer, type ClientMetrics, oncePerApp } from "../client-metrics.ts";
import { methodLabel, statusLabel } from "./observe.ts";

/** A function like the `fetch` of the platform. */
export type Fetch = typeof globalThis.fetch;

/** How a request ended that got no reply. */
export type HttpClientOutcome = "cancelled" | "timeout" | "unreachable" | "reset" | "failed";

export interface HttpClientMetricsOptions {
  readonly metrics: Metrics;
  /** Who is asked, from a small fixed set: the name of a service, never an address. */
  readonly peer: string;
  /** What sends. Default: the platform's `fetch`. */
  readonly fetch?: Fetch;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/** A request under way, for clients that are no `fetch`. Call one of both, once. */
export interface ObservedRequest {
  replied(status: number): void;
  failed(outcome: HttpClientOutcome): void;
}

/**
 * The same `fetch`, whose requests are counted and timed until the head of their reply: `http_client_request_duration_seconds`
 * with the reply's status, or how it failed, and `http_client_active_requests`. It changes neither requests nor replies.
 *
 * @example const ask = instrumentFetch({ metrics, peer: "billing" }); await ask(url, { signal });
 */
export function instrumentFetch({
  fetch: send = (input, init) => globalThis.fetch(input, init),
  ...options
}: HttpClientMetricsOptions): Fetch {
  const begin = observeHttpClient(options);
  return async (input, init) => {
    const request = begin(init?.method ?? (input instanceof Request ? input.method : "GET"));
    try {
      const response = await send(input, init);
      request.replied(response.status);
      return response;
    } catch (thrown) {
      request.failed(outcomeOf(thrown, init?.signal ?? (input instanceof Request ? input.signal : undefined)));
      throw thrown;
    }
  };
}

/** What {@link instrumentFetch} stands on: tells the metrics of requests that anything else sends. */
export function observeHttpClient({
  metrics,
  peer,
  clock = systemClock,
}: Omit<HttpClientMetricsOptions, "fetch">): (method: string, span?: SpanContext) => ObservedRequest {
  const { active, duration } = declare(metrics);
  active.count(peer, 0);
  return (given, span = currentContext()?.span) => {
    const method = methodLabel(given.toUpperCase());
    const startedAtMs = clock.monotonicMs();
    const end = (status: string): void => {
      active.count(peer, -1);
      duration.observe({ peer, method, status }, (clock.monotonicMs() - startedAtMs) / 1e3, span);
    };
    active.count(peer, 1);
    return { replied: (status) => end(statusLabel(status)), failed: end };
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
