import { hstsHeader, replyHeader, type ReplyHeaders, toClientHeaders } from "../headers/reply.ts";
import { edit } from "../headers/rules.ts";
import { showReply } from "../plugins/run.ts";
import { addToReply } from "./edge.ts";
import type { ClientResponse } from "./client-message.ts";
import type { Exchange } from "./exchange.ts";

/** The head of a service's reply as the client gets it, name and value by turns. */
export function replyHead(exchange: Exchange, status: number, headers: ReplyHeaders): string[] {
  const { core, replyEdits, edge, limitHeaders } = exchange;
  const flat = toClientHeaders(status, headers);
  if (replyEdits) edit(flat, replyEdits);
  if (edge) addToReply(flat, edge);
  const { plugins, compression } = exchange.taken ?? {};
  if (plugins?.reply) showReply(exchange, plugins.reply, status, flat);
  if (compression) exchange.encoder = core.compressions.encoderFor(exchange, compression, status, flat);
  flat.push("x-request-id", exchange.requestId);
  if (core.hsts !== undefined && replyHeader(headers, hstsHeader) === undefined) flat.push(hstsHeader, core.hsts);
  if (limitHeaders) flat.push(...limitHeaders);
  if (core.isDraining) {
    flat.push("connection", "close");
    exchange.isLast = true;
  }
  return flat;
}

/** Sends a head whose body is not there yet. */
export function flushHead(response: ClientResponse): void {
  if (!response.writableEnded && !response.destroyed) response.flushHeaders();
}

/** The end of a reply this short is joined to what goes before it. */
const oneWriteBytes = 4_096;

/** As one string with the head it takes one plain write, as a buffer behind the head a gathering one. */
export function endWith(response: ClientResponse, chunk: Buffer): void {
  if (chunk.length <= oneWriteBytes) response.end(chunk.toString("latin1"), "latin1");
  else response.end(chunk);
}
