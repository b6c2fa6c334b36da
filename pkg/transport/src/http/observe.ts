import { type Counter, type Histogram, type LineWriter, lineWriter, type Logger, type Metrics } from "@plinth/kernel";
import { type AccessLogSettings, accessSampler } from "../access-log.ts";
import { STATUS_CODES } from "../node-http.ts";
import type { HttpExchange } from "./exchange.ts";
import { endServerSpan, pathOf } from "./server-span.ts";

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

const statuses: ReadonlyMap<number, string> = new Map(
  [...Object.keys(STATUS_CODES), "499"].map((status) => [Number(status), status]),
);

/** The status as a label: a handler may send any number, and those that mean nothing share one value. */
export function statusLabel(status: number): string {
  return statuses.get(status) ?? "_OTHER";
}

export interface HttpObserverOptions {
  readonly metrics: Metrics;
  /** Where the access log is written, if it is. */
  readonly log: Logger;
  readonly settings: AccessLogSettings;
  /** Told of what fails here: the request was served all the same. */
  readonly onFault: (thrown: unknown, exchange: HttpExchange) => void;
}

/** How far a request has come: a middleware outside of a layer may have refused it. */
export interface Reached {
  readonly metrics: boolean;
  readonly accessLog: boolean;
}

/** Metrics, access log and span of each finished exchange. */
export class HttpObserver {
  /** Undefined where there is no access log. */
  readonly #writeLine: LineWriter | undefined;
  readonly #isWritten: ReturnType<typeof accessSampler>;
  readonly #onFault: HttpObserverOptions["onFault"];
  readonly #duration: Histogram<"method" | "route" | "status">;
  readonly #malformed: Counter;
  readonly #shed: Counter;

  constructor({ metrics, log, settings, onFault }: HttpObserverOptions) {
    this.#writeLine = settings.accessLog ? lineWriter(log.named("access"), "info", "request", lineFields) : undefined;
    this.#isWritten = accessSampler(settings);
    this.#onFault = onFault;
    this.#duration = metrics.histogram({
      name: "http_server_request_duration_seconds",
      help: "Time from the request's head to the end of the reply.",
      labels: ["method", "route", "status"],
      exemplars: true,
    });
    this.#malformed = metrics.counter({
      name: "http_server_malformed_requests_total",
      help: "Requests that the HTTP parser refused.",
    });
    this.#shed = metrics.counter({
      name: "http_server_shed_total",
      help: "Requests refused because the event loop ran late or too many were under way; in the durations they are 503 of `unmatched` after 0 s.",
    });
  }

  malformed(): void {
    this.#malformed.inc({});
  }

  /** Among the failures that the durations tell of, so that an overload shows; its route was never looked for. */
  shed(method: string): void {
    this.#shed.inc({});
    this.#duration.observe({ method, route: "unmatched", status: "503" }, 0);
  }

  /**
   * One of them that fails takes nothing from the others.
   * @param tookMs - From the request's head to the end of the reply.
   * @param reached - What it has not reached does not hear of it.
   */
  finished(exchange: HttpExchange, tookMs: number, reached: Reached): void {
    const { method, route, status, span } = exchange;
    try {
      if (reached.metrics) this.#duration.observe({ method, route, status: statusLabel(status) }, tookMs / 1e3, span);
    } catch (thrown) {
      this.#onFault(thrown, exchange);
    }
    try {
      endServerSpan(exchange, status);
    } catch (thrown) {
      this.#onFault(thrown, exchange);
    }
    try {
      if (reached.accessLog && this.#writeLine && this.#isWritten(status >= 500, tookMs))
        this.#writeLine(lineOf(exchange, status, tookMs));
    } catch (thrown) {
      this.#onFault(thrown, exchange);
    }
  }
}

const lineFields = [
  "method",
  "path",
  "route",
  "status",
  "duration_ms",
  "code",
  "messages_sent",
  "close_code",
  "client_address",
  "trace_id",
  "span_id",
  "request_id",
] as const;

/** The values of {@link lineFields}. The ids are among them, since the connection's events are outside of the request. */
function lineOf(exchange: HttpExchange, status: number, tookMs: number): Parameters<LineWriter>[0] {
  const { span, error, method, route, request, requestId, messagesSent, closeCode, clientAddress } = exchange;
  const path = pathOf(request.url);
  const durationMs = Math.round(tookMs * 1e3) / 1e3;
  return [
    method,
    path,
    route,
    status,
    durationMs,
    error?.code,
    messagesSent,
    closeCode,
    clientAddress,
    span.traceId,
    span.spanId,
    requestId,
  ];
}
