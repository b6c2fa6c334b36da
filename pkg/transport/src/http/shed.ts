import type { IncomingMessage, ServerResponse } from "node:http";
import { type LoopDelay, overloaded } from "../loop-delay.ts";
import { problemText, toProblem } from "../problem.ts";
import { type HttpObserver, methodLabel } from "./observe.ts";
import { type Edge, idsOf } from "./raw-reply.ts";

export interface ShedderOptions {
  readonly settings: { readonly maxLoopDelayMs: number; readonly maxConcurrentRequests: number };
  /** How many requests are under way. */
  readonly active: () => number;
  readonly observer: HttpObserver;
  readonly edge: Edge;
  readonly loopDelay?: LoopDelay | undefined;
}

/** Refuses requests while the event loop runs late or too many are under way, before anything is spent on them: work that would only make it later. */
export class Shedder {
  readonly #limitMs: number;
  readonly #maxActive: number;
  readonly #active: () => number;
  readonly #loopDelay: LoopDelay | undefined;
  readonly #observer: HttpObserver;
  readonly #edge: Edge;

  constructor({ settings, active, observer, edge, loopDelay }: ShedderOptions) {
    const { maxLoopDelayMs, maxConcurrentRequests } = settings;
    this.#maxActive = maxConcurrentRequests === 0 ? Infinity : maxConcurrentRequests;
    this.#active = active;
    this.#limitMs = maxLoopDelayMs;
    this.#loopDelay = maxLoopDelayMs > 0 ? loopDelay : undefined;
    this.#observer = observer;
    this.#edge = edge;
  }

  /**
   * @param others - How many other requests are under way.
   * @returns True when it has answered. The connection stays: a new one would cost more than the request.
   */
  shed(request: IncomingMessage, response: ServerResponse, others = this.#active()): boolean {
    const isLate = this.#loopDelay !== undefined && this.#loopDelay.nowMs() > this.#limitMs;
    if (!isLate && others < this.#maxActive) return false;
    this.#observer.shed(methodLabel(request.method));
    const { requestId, traceId } = idsOf(request, this.#edge.trust);
    const { title, headers, text } = problemText(toProblem(overloaded(), { traceId }));
    const more = { ...this.#edge.headers, "retry-after": "1", "x-request-id": requestId };
    response.writeHead(503, title, { ...headers, ...more });
    response.end(text);
    return true;
  }
}
