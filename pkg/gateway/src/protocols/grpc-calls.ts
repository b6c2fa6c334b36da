import type { Exchange } from "../server/exchange.ts";

/** How long the last statuses have to reach callers before their connections end, in milliseconds. */
export const statusGraceMs = 250;

/** The calls of gRPC that are under way. */
export class GrpcCalls {
  readonly #open = new Set<Exchange>();

  began(exchange: Exchange): void {
    this.#open.add(exchange);
  }

  ended(exchange: Exchange): void {
    this.#open.delete(exchange);
  }

  /**
   * Ends each with UNAVAILABLE: its caller is told that it may ask elsewhere, where the end of a connection tells nothing. Safe to
   * call twice.
   * @returns False when there is none.
   */
  stop(): boolean {
    for (const exchange of this.#open) if (!exchange.response.writableEnded) exchange.refuse("gateway_stopped");
    return this.#open.size > 0;
  }
}
