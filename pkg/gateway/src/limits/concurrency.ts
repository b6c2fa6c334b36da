import type { Clock, Metrics } from "@plinth/kernel";
import { type ConcurrencyCap, createConcurrencyCap } from "@plinth/resilience";
import type { RouteConfig } from "../config/schema.ts";
import type { Exchange } from "../server/exchange.ts";
import type { GatewayTeam } from "../workers/team.ts";

type RouteCap = ConcurrencyCap & { close?(): void };

/** The caps of a document that is not taken yet: until it is, those in use stay as they are. One of the two is to be called. */
export interface PlannedCaps {
  /** By the name of the route. */
  readonly caps: ReadonlyMap<string, ConcurrencyCap>;
  /** They are in use from now on: other limits hold for what is under way too, and what has gone is forgotten. */
  take(): void;
  discard(): void;
}

/** The caps of routes by their names: a route keeps its places when the document changes. */
export class RouteCaps {
  readonly #clock: Clock;
  /** Those who have the places with this process. */
  readonly #team: GatewayTeam | undefined;
  #caps: ReadonlyMap<string, RouteCap> = new Map();

  constructor(clock: Clock, metrics: Metrics, team?: GatewayTeam) {
    this.#team = team;
    this.#clock = clock;
    metrics.gauge({
      name: "gateway_concurrency_in_flight",
      help: "Requests of each route with a `concurrency` that are under way.",
      labels: ["route"],
      collect: (gauge) => {
        for (const [route, { inFlight }] of this.#caps) gauge.set({ route }, inFlight);
      },
    });
    metrics.gauge({
      name: "gateway_concurrency_waiting",
      help: "Requests that wait for a place of their route.",
      labels: ["route"],
      collect: (gauge) => {
        for (const [route, { waiting }] of this.#caps) gauge.set({ route }, waiting);
      },
    });
  }

  plan(routes: readonly RouteConfig[]): PlannedCaps {
    const caps = new Map<string, RouteCap>();
    const made: RouteCap[] = [];
    for (const { name, concurrency } of routes) {
      if (!concurrency) continue;
      let cap = this.#caps.get(name);
      if (!cap) made.push((cap = this.#create(name, concurrency)));
      caps.set(name, cap);
    }
    const take = (): void => {
      for (const { name, concurrency } of routes) if (concurrency) caps.get(name)?.resize(concurrency);
      for (const [name, cap] of this.#caps) if (caps.get(name) !== cap) cap.close?.();
      this.#caps = caps;
    };
    const discard = (): void => {
      for (const cap of made) cap.close?.();
    };
    return { caps, take, discard };
  }

  #create(name: string, options: NonNullable<RouteConfig["concurrency"]>): RouteCap {
    return this.#team?.capOf(name, options) ?? createConcurrencyCap({ ...options, clock: this.#clock });
  }
}

/**
 * Goes on with `next` as soon as there is a place; refuses where none comes free in time. The exchange gives it back when it ends.
 * @param of - Whose place it is: the route's, or the service's.
 */
export function takePlace(
  exchange: Exchange,
  cap: ConcurrencyCap,
  next: () => void,
  of: "place" | "servicePlace" = "place",
): void {
  if (cap.tryAcquire()) {
    exchange[of] = cap;
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
        exchange[of] = cap;
        next();
      } else if (!isOver) {
        const reason = of === "place" ? "concurrency_limited" : "instances_busy";
        exchange.refuse(reason, undefined, ["retry-after", "1"]);
      }
    })
    .catch((error: unknown) => exchange.fault(error));
}
