import { type Counter, type Histogram, type Logger, type Metrics, runInContext, type Span } from "@plinth/kernel";
import type { Reason } from "../reasons.ts";
import type { FailureKind } from "../upstream/upstream.ts";
import type { Exchange } from "./exchange.ts";
import { Tally } from "./tally.ts";

const methods: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
  "TRACE",
  "CONNECT",
]);
const statusClasses = ["", "1xx", "2xx", "3xx", "4xx", "5xx"] as const;
const maxLoggedPath = 256;

/** The method as a label and in span names: unusual ones share a value. */
export function methodLabel(method: string | undefined): string {
  return method !== undefined && methods.has(method) ? method : "_OTHER";
}

/** Metrics, access log and span attributes of exchanges. */
export class Observer {
  readonly #accessLog: Logger | undefined;
  readonly #requests = new Tally();
  readonly #duration: Histogram<"route">;
  readonly #malformed: Counter<"reason">;
  readonly #attempts: Counter<"service" | "outcome">;
  readonly #headTime: Histogram<"service">;
  readonly #retries: Counter<"service">;

  constructor(metrics: Metrics, accessLog: Logger | undefined) {
    this.#accessLog = accessLog;
    metrics.counter({
      name: "gateway_requests_total",
      help: "Requests answered. `reason` is `none` for replies of services, else why the gateway answered itself or cut off.",
      labels: ["route", "method", "status_class", "reason"],
      collect: (counter) =>
        this.#requests.each((route, method, status_class, reason, total) =>
          counter.set({ route, method, status_class, reason }, total),
        ),
    });
    this.#duration = metrics.histogram({
      name: "gateway_request_duration_seconds",
      help: "Time from the request's head to the end of the reply; of a WebSocket until it is open.",
      labels: ["route"],
      exemplars: true,
    });
    this.#malformed = metrics.counter({
      name: "gateway_malformed_requests_total",
      help: "Bytes on client connections that were no HTTP request, refused by the parser.",
      labels: ["reason"],
    });
    this.#attempts = metrics.counter({
      name: "gateway_upstream_attempts_total",
      help: "Requests sent to instances. `outcome` is `reply`, `aborted`, or how it failed.",
      labels: ["service", "outcome"],
    });
    this.#headTime = metrics.histogram({
      name: "gateway_upstream_head_duration_seconds",
      help: "Time from sending a request to an instance to the head of its reply.",
      labels: ["service"],
      exemplars: true,
    });
    this.#retries = metrics.counter({
      name: "gateway_upstream_retries_total",
      help: "Requests sent to another instance, or over another connection, after a first try that cannot have had an effect.",
      labels: ["service"],
    });
  }

  malformed(reason: Reason): void {
    this.#malformed.inc({ reason });
  }

  retried(service: string): void {
    this.#retries.inc({ service });
  }

  attempted(service: string, outcome: FailureKind | "reply" | "aborted"): void {
    this.#attempts.inc({ service, outcome });
  }

  replied(service: string, tookMs: number, span: Span | undefined): void {
    this.#headTime.observe({ service }, tookMs / 1e3, span);
  }

  /**
   * One of them that fails takes nothing from the others.
   * @param status - Of the reply, or of the reason when none was given.
   */
  finished(exchange: Exchange, status: number, tookMs: number): void {
    try {
      this.#count(exchange, status, tookMs);
    } finally {
      try {
        endSpan(exchange, status);
      } finally {
        if (this.#accessLog?.isEnabled("info") === true) this.#log(this.#accessLog, exchange, status, tookMs);
      }
    }
  }

  #count({ span, taken: route, method, reason, upgrade }: Exchange, status: number, tookMs: number): void {
    const name = route?.name ?? "unmatched";
    this.#requests.inc(name, methodLabel(method), statusClasses[Math.floor(status / 100)] ?? "other", reason ?? "none");
    this.#duration.observe({ route: name }, (upgrade?.tookMs ?? tookMs) / 1e3, span);
  }

  #log(log: Logger, exchange: Exchange, status: number, tookMs: number): void {
    const { reason, authFault, taken: route, forwarding } = exchange;
    const fields = {
      method: methodLabel(exchange.method),
      path: pathOf(exchange),
      route: route?.name ?? "unmatched",
      status,
      ...(reason === undefined ? {} : { reason }),
      ...(authFault === undefined ? {} : { auth: authFault }),
      ...(exchange.limitedBy === undefined ? {} : { limit: exchange.limitedBy }),
      ...(exchange.shadowLimitedBy === undefined ? {} : { shadow_limit: exchange.shadowLimitedBy }),
      ...(route === undefined ? {} : { upstream: route.pool.service }),
      ...(forwarding?.instanceId === undefined ? {} : { instance: forwarding.instanceId }),
      ...(forwarding && forwarding.attempts > 1 ? { attempts: forwarding.attempts } : {}),
      duration_ms: Math.round(tookMs * 1e3) / 1e3,
      bytes: exchange.bytes,
      ...(exchange.upgrade ? { bytes_received: exchange.upgrade.bytesFromClient } : {}),
      client: exchange.clientAddress,
    };
    runInContext(exchange, () => log.info("request", fields));
  }
}

function endSpan(exchange: Exchange, status: number): void {
  const { span, reason, template } = exchange;
  if (span.sampled) {
    const method = methodLabel(exchange.method);
    span.rename(template === undefined ? method : `${method} ${template}`);
    if (template !== undefined) span.setAttribute("http.route", template);
    span.setAttribute("http.request.method", method);
    span.setAttribute("http.response.status_code", status);
    span.setAttribute("url.scheme", exchange.core.scheme);
    span.setAttribute("url.path", pathOf(exchange));
    span.setAttribute("client.address", exchange.clientAddress);
    span.setAttribute("plinth.route", exchange.taken?.name ?? "unmatched");
    if (reason !== undefined) {
      span.setAttribute("plinth.reason", reason);
      if (status >= 500) span.setAttribute("error.type", reason);
    }
  }
  span.end();
}

/** Without the query, which may hold secrets, and of bounded length. */
function pathOf({ path }: Exchange): string {
  return path.length > maxLoggedPath ? path.slice(0, maxLoggedPath) : path;
}
