import type { Clock, Metrics } from "@plinth/kernel";
import { type ConcurrencyCap, createConcurrencyCap } from "@plinth/resilience";
import type { RouteConfig } from "../config/schema.ts";
import type { Exchange } from "../server/exchange.ts";

interface Kept {
  readonly cap: ConcurrencyCap;
  readonly maxWaitMs: number;
}

/** The caps of routes by their names: a route keeps its places when the document changes. */
export class RouteCaps {
  readonly #clock: Clock;
  #caps = new Map<string, Kept>();

  constructor(clock: Clock, metrics: Metrics) {
    this.#clock = clock;
    metrics.gauge({
      name: "gateway_concurrency_in_flight",
      help: "Requests of each route with a `concurrency` that are under way.",
      labels: ["route"],
      collect: (gauge) => {
        for (const [route, { cap }] of this.#caps) gauge.set({ route }, cap.inFlight);
      },
    });
    metrics.gauge({
      name: "gateway_concurrency_waiting",
      help: "Requests that wait for a place of their route.",
      labels: ["route"],
      collect: (gauge) => {
        for (const [route, { cap }] of this.#caps) gauge.set({ route }, cap.waiting);
      },
    });
  }

  /** Those of a document, in place of those before: other limits hold for what is under way too, and what has gone is forgotten. */
  renew(routes: readonly RouteConfig[]): ReadonlyMap<string, ConcurrencyCap> {
    const next = new Map<string, Kept>();
    for (const { name, concurrency } of routes) {
      if (!concurrency) continue;
      const { maxInFlight, maxQueue, maxWaitMs } = concurrency;
      const before = this.#caps.get(name);
      if (before?.maxWaitMs === maxWaitMs) {
        before.cap.resize({ maxInFlight, maxQueue });
        next.set(name, before);
      } else next.set(name, { cap: createConcurrencyCap({ ...concurrency, clock: this.#clock }), maxWaitMs });
    }
    this.#caps = next;
    return new Map([...next].map(([name, { cap }]) => [name, cap]));
  }
}

/** Goes on with `next` as soon as there is a place; refuses where none comes free in time. The exchange gives it back when it ends. */
export function takePlace(exchange: Exchange, cap: ConcurrencyCap, next: () => void): void {
  if (cap.tryAcquire()) {
    exchange.place = cap;
    next();
    return;
  }
  const leaving = new AbortController();
  exchange.leaving = leaving;
  const timeoutMs = exchange.list && exchange.expiresAtMs - exchange.core.clock.monotonicMs();
  cap
    .acquire({ signal: leaving.signal, timeoutMs })
    .then((verdict) => {
      const isOver = exchange.isFinished || exchange.response.headersSent;
      if (verdict === "taken" && isOver) cap.release();
      else if (verdict === "taken") {
        exchange.place = cap;
        next();
      } else if (!isOver) exchange.refuse("concurrency_limited", undefined, ["retry-after", "1"]);
    })
    .catch((error: unknown) => exchange.fault(error));
}
