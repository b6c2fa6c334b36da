import { type Counter, type Histogram, type LineWriter, lineWriter, type Logger, type Metrics } from "@plinth/kernel";
import { type AccessLogSettings, accessSampler } from "../access-log.ts";
import { isIncident } from "../status.ts";
import type { CallExchange } from "./call-exchange.ts";

/** Messages of one method since the server began. Counted here and read at a scrape: a stream has many. */
export interface MessageCount {
  received: number;
  sent: number;
}

export interface CallObserverOptions {
  readonly metrics: Metrics;
  /** Where the access log is written, if it is. */
  readonly log: Logger;
  readonly settings: AccessLogSettings;
  /** Told of what fails here: the call was served all the same. */
  readonly onFault: (thrown: unknown, exchange: CallExchange) => void;
}

/** Metrics, access log and span of each call. */
export class CallObserver {
  /** Undefined where there is no access log. */
  readonly #writeLine: LineWriter | undefined;
  readonly #isWritten: ReturnType<typeof accessSampler>;
  readonly #onFault: CallObserverOptions["onFault"];
  readonly #duration: Histogram<"method" | "status">;
  readonly #shed: Counter;
  readonly #messages = new Map<string, MessageCount>();
  #active = 0;

  constructor({ metrics, log, settings, onFault }: CallObserverOptions) {
    this.#writeLine = settings.accessLog ? lineWriter(log.named("access"), "info", "call", lineFields) : undefined;
    this.#isWritten = accessSampler(settings);
    this.#onFault = onFault;
    this.#duration = metrics.histogram({
      name: "grpc_server_call_duration_seconds",
      help: "Time from the call's start to its status.",
      labels: ["method", "status"],
      exemplars: true,
    });
    this.#shed = metrics.counter({
      name: "grpc_server_shed_total",
      help: "Calls refused because the event loop ran late, or too many were being served; in the durations they are `unavailable` after 0 s.",
    });
    metrics.gauge({
      name: "grpc_server_active_calls",
      help: "Calls being served.",
      collect: (gauge) => gauge.set({}, this.#active),
    });
    metrics.counter({
      name: "grpc_server_messages_total",
      help: "Messages of calls, by direction: received or sent.",
      labels: ["method", "direction"],
      collect: (counter) => {
        for (const [method, { received, sent }] of this.#messages) {
          if (received > 0) counter.set({ method, direction: "received" }, received);
          if (sent > 0) counter.set({ method, direction: "sent" }, sent);
        }
      },
    });
  }

  /** Where the messages of a method are counted. */
  messagesOf(method: string): MessageCount {
    const known = this.#messages.get(method) ?? { received: 0, sent: 0 };
    this.#messages.set(method, known);
    return known;
  }

  /** Among the failures that the durations tell of, so that an overload shows. */
  shed(method: string): void {
    this.#shed.inc({});
    this.#duration.observe({ method, status: "unavailable" }, 0);
  }

  /** How many calls are being served, without probes. */
  get active(): number {
    return this.#active;
  }

  began(): void {
    this.#active++;
  }

  /**
   * One of them that fails takes nothing from the others.
   * @param tookMs - From the call's start to its status.
   * @param reached - Which of them the call has come to: a middleware outside of them may have refused it.
   */
  finished(exchange: CallExchange, tookMs: number, reached: { metrics: boolean; accessLog: boolean }): void {
    this.#active--;
    const { span, error, route: method } = exchange;
    const status = error?.status ?? "ok";
    try {
      if (reached.metrics) this.#duration.observe({ method, status }, tookMs / 1e3, span);
    } catch (thrown) {
      this.#onFault(thrown, exchange);
    }
    try {
      if (span.sampled) {
        span.setAttributes({
          "rpc.system.name": "grpc",
          "rpc.method": method,
          "rpc.status_code": status.toUpperCase(),
          "client.address": exchange.clientAddress,
        });
        if (error && (isIncident(error.status) || error.status === "unimplemented")) span.fail(error);
      }
      span.end();
    } catch (thrown) {
      this.#onFault(thrown, exchange);
    }
    try {
      const isFailure = error !== undefined && isIncident(error.status);
      if (!reached.accessLog || !this.#writeLine || !this.#isWritten(isFailure, tookMs)) return;
      const durationMs = Math.round(tookMs * 1e3) / 1e3;
      const { clientAddress, requestId } = exchange;
      const { traceId, spanId } = span;
      this.#writeLine([method, status, durationMs, error?.code, clientAddress, traceId, spanId, requestId]);
    } catch (thrown) {
      this.#onFault(thrown, exchange);
    }
  }
}

const lineFields = [
  "method",
  "status",
  "duration_ms",
  "code",
  "client_address",
  "trace_id",
  "span_id",
  "request_id",
] as const;
