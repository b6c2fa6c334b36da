import type { Metrics } from "@plinth/kernel";
import type { Tunnel } from "./tunnel.ts";

/** What is counted of the WebSockets of one route, whatever document it is in. */
interface RouteCount {
  /** Open, or being asked for. */
  open: number;
  fromClients: number;
  fromInstances: number;
}

/** The WebSockets of a gateway: a new document leaves them as they are. */
export class WebSockets {
  readonly #counts = new Map<string, RouteCount>();
  readonly #tunnels = new Set<Tunnel>();
  #isClosing = false;

  constructor(metrics: Metrics) {
    metrics.gauge({
      name: "gateway_websockets",
      help: "WebSockets that are open, or that an instance is being asked for.",
      labels: ["route"],
      collect: (gauge) => {
        for (const [route, { open }] of this.#counts) gauge.set({ route }, open);
      },
    });
    metrics.counter({
      name: "gateway_websocket_bytes_total",
      help: "Bytes passed on in WebSockets, by who sent them.",
      labels: ["route", "from"],
      collect: (counter) => {
        for (const [route, { fromClients, fromInstances }] of this.#counts) {
          counter.set({ route, from: "client" }, fromClients);
          counter.set({ route, from: "instance" }, fromInstances);
        }
      },
    });
  }

  /** @returns False when as many as allowed are open. Otherwise one more is counted, until {@link release}. */
  take(route: string, max: number): boolean {
    const count = this.#of(route);
    if (count.open >= max) return false;
    count.open++;
    return true;
  }

  release(route: string): void {
    this.#of(route).open--;
  }

  passed(route: string, from: "client" | "instance", bytes: number): void {
    const count = this.#of(route);
    if (from === "client") count.fromClients += bytes;
    else count.fromInstances += bytes;
  }

  opened(tunnel: Tunnel): void {
    this.#tunnels.add(tunnel);
    if (this.#isClosing) tunnel.goAway("gateway_stopped");
  }

  closed(tunnel: Tunnel): void {
    this.#tunnels.delete(tunnel);
  }

  /** Tells all clients that the gateway goes away, those too whose WebSocket opens only later. */
  goAway(): void {
    this.#isClosing = true;
    for (const tunnel of this.#tunnels) tunnel.goAway("gateway_stopped");
  }

  #of(route: string): RouteCount {
    let count = this.#counts.get(route);
    if (!count) {
      count = { open: 0, fromClients: 0, fromInstances: 0 };
      this.#counts.set(route, count);
    }
    return count;
  }
}
