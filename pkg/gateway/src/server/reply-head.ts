import { hstsHeader, type ReplyHeaders, toClientHeaders } from "../headers/reply.ts";
import { edit } from "../headers/rules.ts";
import { addToReply } from "./edge.ts";
import type { Exchange } from "./exchange.ts";

/** The head of a service's reply as the client gets it, name and value by turns. */
export function replyHead(exchange: Exchange, status: number, headers: ReplyHeaders): string[] {
  const { core, replyEdits, edge, limitHeaders } = exchange;
  const flat = toClientHeaders(status, headers);
  if (replyEdits) edit(flat, replyEdits);
  if (edge) addToReply(flat, edge);
  flat.push("x-request-id", exchange.requestId);
  if (core.hsts !== undefined && headers[hstsHeader] === undefined) flat.push(hstsHeader, core.hsts);
  if (limitHeaders) flat.push(...limitHeaders);
  if (core.isDraining) {
    flat.push("connection", "close");
    exchange.isLast = true;
  }
  return flat;
}
