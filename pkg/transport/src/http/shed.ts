import type { IncomingMessage, ServerResponse } from "node:http";
import { type LoopDelay, overloaded } from "../loop-delay.ts";
import { problemText, toProblem } from "../problem.ts";
import { type HttpObserver, methodLabel } from "./observe.ts";
import { idsOf } from "./raw-reply.ts";

export interface ShedderOptions {
  readonly settings: { readonly maxLoopDelayMs: number; readonly maxConcurrentRequests: number };
  /** How many requests are under way. */
  readonly active: () => number;
  readonly observer: HttpObserver;
  readonly loopDelay?: LoopDelay | undefined;
}

/** Refuses requests while the event loop runs late or too many are under way, before anything is spent on them: work that would only make it later. */
export class Shedder {
  readonly #limitMs: number;
  readonly #maxActive: number;
  readonly #active: () => number;
  readonly #loopDelay: LoopDelay | undefined;
  readonly #observer: HttpObserver;

  constructor({ settings: { maxLoopDelayMs, maxConcurrentRequests }, active, observer, loopDelay }: ShedderOptions) {
    this.#maxActive = maxConcurrentRequests === 0 ? Infinity : maxConcurrentRequests;
    this.#active = active;
    this.#limitMs = maxLoopDelayMs;
    this.#loopDelay = maxLoopDelayMs > 0 ? loopDelay : undefined;
    this.#observer = observer;
  }

  /**
   * @param others - How many other requests are under way.
   * @returns True when it has answered. The connection stays: a new one would cost more than the request.
   */
  shed(request: IncomingMessage, response: ServerResponse, others = this.#active()): boolean {
    const isLate = this.#loopDelay !== undefined && this.#loopDelay.nowMs() > this.#limitMs;
    if (!isLate && others < this.#maxActive) return false;
    this.#observer.shed(methodLabel(request.method));
    const { requestId, traceId } = idsOf(request);
    const { title, headers, text } = problemText(toProblem(overloaded(), { traceId }));
    response.writeHead(503, title, { ...headers, "retry-after": "1", "x-request-id": requestId });
    response.end(text);
    return true;
  }
}
