import type { RequestHead } from "../headers/request-head.ts";
import { headerOf } from "../router/conditions.ts";
import { preflightOf } from "./cors.ts";
import { type Edge, toEdgeReply } from "./edge.ts";
import type { Exchange } from "./exchange.ts";

/** From now on replies say what the edge has to say. @returns False when the client is refused by its address. */
export function passEdge(exchange: Exchange, edge: Edge, head: RequestHead): boolean {
  exchange.edge = toEdgeReply(edge, edge.cors && headerOf(head.headers, "origin"));
  if (edge.addresses?.admits(exchange.clientAddress) !== false) return true;
  exchange.refuse("address_refused");
  return false;
}

/**
 * Answers the question of a page whether it may send a request, where the route for that request lets pages call it. Nothing
 * else is asked of it: a browser sends it without a token.
 * @returns Whether it was one.
 */
export function answerPreflight(exchange: Exchange, head: RequestHead): boolean {
  const preflight = preflightOf(exchange.method, head.headers);
  if (!preflight) return false;
  const found = exchange.generation.table.find(head.hostName, preflight.method, head.path, head);
  if (found === undefined || "allow" in found || !found.route.edge?.cors) return false;
  const { route, template } = found;
  const { cors, addresses } = found.route.edge;
  exchange.taken = route;
  exchange.template = template;
  exchange.edge = toEdgeReply(found.route.edge, undefined);
  const headers = cors.preflightHeaders(preflight);
  if (addresses?.admits(exchange.clientAddress) === false) exchange.refuse("address_refused");
  else if (headers === undefined) exchange.refuse("cors_refused");
  else {
    exchange.edge = { ...exchange.edge, cors: headers };
    exchange.answerEmpty(204, []);
  }
  return true;
}
