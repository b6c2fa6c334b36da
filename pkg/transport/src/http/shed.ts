import type { IncomingMessage, ServerResponse } from "node:http";
import type { Counter, Metrics } from "@plinth/kernel";
import { type LoopDelay, overloaded } from "../loop-delay.ts";
import { problemText, toProblem } from "../problem.ts";
import { idsOf } from "./raw-reply.ts";

export interface ShedderOptions {
  readonly settings: { readonly maxLoopDelayMs: number };
  readonly metrics: Metrics;
  readonly loopDelay?: LoopDelay | undefined;
}

/** Refuses requests while the event loop runs late, before anything is spent on them: work that would only make it later. */
export class Shedder {
  readonly #limitMs: number;
  readonly #loopDelay: LoopDelay | undefined;
  readonly #count: Counter;

  constructor({ settings: { maxLoopDelayMs }, metrics, loopDelay }: ShedderOptions) {
    this.#limitMs = maxLoopDelayMs;
    this.#loopDelay = maxLoopDelayMs > 0 ? loopDelay : undefined;
    this.#count = metrics.counter({
      name: "http_server_shed_total",
      help: "Requests refused because the event loop ran late.",
    });
  }

  /** @returns True when it has answered. The connection stays: a new one would cost more than the request. */
  shed(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#loopDelay === undefined || this.#loopDelay.nowMs() <= this.#limitMs) return false;
    this.#count.inc({});
    const { requestId, traceId } = idsOf(request);
    const { title, headers, text } = problemText(toProblem(overloaded(), { traceId }));
    response.writeHead(503, title, { ...headers, "retry-after": "1", "x-request-id": requestId });
    response.end(text);
    return true;
  }
}
