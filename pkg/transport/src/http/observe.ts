import type { IncomingMessage, ServerResponse } from "node:http";
import { type Histogram, type Logger, type Metrics, runInContext } from "@plinth/kernel";
import type { Exchange } from "../exchange.ts";

const methods: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "PATCH",
  "OPTIONS",
  "TRACE",
  "CONNECT",
]);

/** The method as a label: anything unusual shares one value. */
export function methodLabel(method: string | undefined): string {
  return method !== undefined && methods.has(method) ? method : "_OTHER";
}

/** Metrics, access log and span of each finished exchange. */
export class HttpObserver {
  readonly #log: Logger | undefined;
  readonly #duration: Histogram<"method" | "route" | "status">;
  readonly #malformed: { inc(labels: object): void };

  constructor(metrics: Metrics, accessLog: Logger | undefined) {
    this.#log = accessLog;
    this.#duration = metrics.histogram({
      name: "http_server_request_duration_seconds",
      help: "Time from the request's head to the end of the reply.",
      labels: ["method", "route", "status"],
    });
    this.#malformed = metrics.counter({
      name: "http_server_malformed_requests_total",
      help: "Requests that the HTTP parser refused.",
    });
  }

  malformed(): void {
    this.#malformed.inc({});
  }

  /** @param tookMs - From the request's head to the end of the reply. */
  finished(exchange: Exchange, request: IncomingMessage, response: ServerResponse, tookMs: number): void {
    const method = methodLabel(request.method);
    // 499: the caller left before the reply was complete
    const status = response.writableFinished ? response.statusCode : 499;
    this.#duration.observe({ method, route: exchange.route, status: String(status) }, tookMs / 1e3);
    const { span, error } = exchange;
    span.rename(`${method} ${exchange.route}`);
    span.setAttribute("http.route", exchange.route);
    span.setAttribute("http.response.status_code", status);
    if (error !== undefined && status >= 500) span.fail(error);
    span.end();
    if (!this.#log?.isEnabled("info")) return;
    const fields = {
      method,
      path: pathOf(request.url ?? ""),
      route: exchange.route,
      status,
      duration_ms: Math.round(tookMs * 1e3) / 1e3,
      ...(error === undefined ? {} : { code: error.code }),
    };
    runInContext(exchange, () => this.#log?.info("request", fields));
  }
}

/** Without the query, which may hold secrets, and of bounded length. */
function pathOf(url: string): string {
  const end = url.indexOf("?");
  return url.slice(0, Math.min(end < 0 ? url.length : end, 256));
}
