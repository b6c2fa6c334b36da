import { type Counter, type Histogram, type Logger, type Metrics, runInContext, type Span } from "@plinth/kernel";
import type { Reason } from "../reasons.ts";
import type { FailureKind } from "../upstream/upstream.ts";
import type { LineVerdict } from "./access-log.ts";
import { capped } from "./capped.ts";
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
  readonly #hedges: Counter<"service" | "outcome">;
  readonly #lines: Record<LineVerdict, number> = { written: 0, not_slow: 0, sampled_out: 0 };

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
    this.#hedges = metrics.counter({
      name: "gateway_upstream_hedges_total",
      help: "Requests sent to another instance beside a first that took long, by whether their reply was the client's.",
      labels: ["service", "outcome"],
    });
    this.#retries = metrics.counter({
      name: "gateway_upstream_retries_total",
      help: "Requests sent again, to another instance or over another connection, after a try that failed.",
      labels: ["service"],
    });
    metrics.counter({
      name: "gateway_access_log_lines_total",
      help: "Requests by whether they have a line in the access log, as the document's `accessLog` says.",
      labels: ["outcome"],
      collect: (counter) => {
        for (const [outcome, total] of Object.entries(this.#lines)) counter.set({ outcome }, total);
      },
    });
  }

  hedged(service: string, outcome: "won" | "lost" | "failed"): void {
    this.#hedges.inc({ service, outcome });
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
        if (this.#accessLog?.isEnabled("info") === true) this.#logIfWanted(this.#accessLog, exchange, status, tookMs);
      }
    }
  }

  #count({ span, taken: route, method, reason, upgrade }: Exchange, status: number, tookMs: number): void {
    const name = route?.name ?? "unmatched";
    this.#requests.inc(name, methodLabel(method), statusClasses[Math.floor(status / 100)] ?? "other", reason ?? "none");
    this.#duration.observe({ route: name }, (upgrade?.tookMs ?? tookMs) / 1e3, span);
  }

  #logIfWanted(log: Logger, exchange: Exchange, status: number, tookMs: number): void {
    const { accessLog: rules } = exchange.generation;
    if (rules === undefined) {
      this.#log(log, exchange, status, tookMs);
      return;
    }
    const verdict = rules.verdictOf(exchange, status, tookMs);
    this.#lines[verdict]++;
    if (verdict !== "written") return;
    const line = rules.lineOf(exchange, status, tookMs);
    runInContext(exchange, () => log.info("request", line));
  }

  #log(log: Logger, exchange: Exchange, status: number, tookMs: number): void {
    this.#lines.written++;
    const { reason, authFault, taken: route, forwarding } = exchange;
    const fields = {
      method: methodLabel(exchange.method),
      path: capped(exchange.path),
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
    span.setAttribute("network.protocol.version", exchange.request.httpVersion);
    span.setAttribute("url.path", capped(exchange.path));
    span.setAttribute("client.address", exchange.clientAddress);
    span.setAttribute("plinth.route", exchange.taken?.name ?? "unmatched");
    if (reason !== undefined) {
      span.setAttribute("plinth.reason", reason);
      if (status >= 500) span.setAttribute("error.type", reason);
    }
  }
  span.end();
}
