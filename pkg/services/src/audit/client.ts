import { createRpcClient } from "@plinth/transport";
import type { CallOptions, ServiceClientOptions } from "../calls.ts";
import { readReply, required, toDate, toPage, toPageFields } from "../convert.ts";
import { AuditService } from "../gen/plinth/audit/v1/audit_pb.ts";
import { itemsOf } from "../pages.ts";
import {
  fromEntryMessage,
  fromHash,
  fromReceiptMessage,
  fromResultMessage,
  fromTailMessage,
  toEventMessage,
  toFilterMessage,
  toSequence,
  toTailRequest,
} from "./convert.ts";
import type { AuditClient, TailItem, TailQuery } from "./types.ts";

/** Calls Audit over a channel. Errors are those of the service, and of {@link createRpcClient}; `ERR_SERVICE_REPLY` for a reply that breaks the contract. */
export function createAuditClient(options: ServiceClientOptions): AuditClient {
  const rpc = createRpcClient(AuditService, options);
  const client: AuditClient = {
    record: async (event, call) =>
      readReply(await rpc.record({ event: toEventMessage(event) }, call), ({ receipt }) => fromReceiptMessage(receipt)),
    recordBatch: async (events, call) =>
      readReply(await rpc.recordBatch({ events: events.map(toEventMessage) }, call), ({ results }) => {
        if (results.length !== events.length) throw new Error(`${results.length} results of ${events.length} events`);
        return results.map(fromResultMessage);
      }),
    getEntry: async (eventId, call) =>
      readReply(await rpc.getEntry({ eventId }, call), ({ entry }) => fromEntryMessage(entry)),
    query: (query = {}, call) =>
      itemsOf((pageToken) => client.queryPage({ ...query, pageToken }, call), query.pageToken),
    queryPage: async (query = {}, call) => {
      const { afterSequence = 0, newestFirst = false } = query;
      const place = { afterSequence: BigInt(afterSequence), newestFirst };
      const request = { filter: toFilterMessage(query), ...place, ...toPageFields(query) };
      return readReply(await rpc.query(request, call), ({ entries, nextPageToken }) =>
        toPage(entries.map(fromEntryMessage), nextPageToken),
      );
    },
    async *tail(query: TailQuery = {}, call?: CallOptions): AsyncGenerator<TailItem> {
      for await (const message of rpc.tail(toTailRequest(query), call)) {
        const item = readReply(message, fromTailMessage);
        if (item !== undefined) yield item;
      }
    },
    getHead: async (call) =>
      readReply(await rpc.getHead({}, call), ({ sequence, hash, readAt }) => ({
        sequence: toSequence(sequence),
        hash: fromHash(hash),
        readAt: toDate(required(readAt, "/read_at")),
      })),
  };
  return client;
}
