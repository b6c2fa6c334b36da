import { AppError } from "@plinth/kernel";
import { type RpcService, rpcService } from "@plinth/transport";
import { compact, fromPageFields, toTimestamp } from "../convert.ts";
import { AuditService, type Event as EventMessage } from "../gen/plinth/audit/v1/audit_pb.ts";
import { eventId } from "../ids.ts";
import { callOf, type ServiceOptions } from "../serve.ts";
import {
  fromEventMessage,
  fromFilterMessage,
  fromTailRequest,
  toEntryMessage,
  toReceiptMessage,
  toResultMessage,
  toSequence,
  toTailMessage,
} from "./convert.ts";
import type { AuditClient, AuditEvent, AuditResult } from "./types.ts";

/** Serves whatever keeps events as `plinth.audit.v1`, on gRPC and over HTTP. */
export function auditService(audit: AuditClient, options?: ServiceOptions<typeof AuditService>): RpcService {
  return rpcService(
    AuditService,
    {
      record: async ({ event }, call) => {
        const read = readEvent(event);
        if (read.error !== undefined) throw AppError.invalidArgument("ERR_AUDIT_EVENT_INVALID", read.error.message);
        return { receipt: toReceiptMessage(await audit.record(read.event, callOf(call))) };
      },
      recordBatch: async ({ events }, call) => {
        const read = events.map(readEvent);
        const whole = read.flatMap(({ event }) => event ?? []);
        // an empty batch is for the service to refuse
        const kept = whole.length > 0 || read.length === 0 ? await audit.recordBatch(whole, callOf(call)) : [];
        const left = [...kept];
        const results = read.map(({ error }): AuditResult | undefined => (error ? { error } : left.shift()));
        return { results: results.flatMap((result) => (result === undefined ? [] : toResultMessage(result))) };
      },
      getEntry: async (request, call) => ({
        entry: toEntryMessage(await audit.getEntry(eventId(request.eventId), callOf(call))),
      }),
      query: async (request, call) => {
        const { filter, afterSequence, newestFirst } = request;
        const place = { afterSequence: toSequence(afterSequence), newestFirst };
        const query = compact({ ...fromFilterMessage(filter), ...place, ...fromPageFields(request) });
        const { items, nextPageToken = "" } = await audit.queryPage(query, callOf(call));
        return { entries: items.map(toEntryMessage), nextPageToken };
      },
      async *tail(request, call) {
        for await (const item of audit.tail(fromTailRequest(request), callOf(call))) yield toTailMessage(item);
      },
      getHead: async (_request, call) => {
        const { sequence, hash, readAt } = await audit.getHead(callOf(call));
        return { sequence: BigInt(sequence), hash: Buffer.from(hash, "hex"), readAt: toTimestamp(readAt) };
      },
    },
    options,
  );
}

/** One that cannot be read is refused by itself, so that it does not keep the others of its batch out. */
function readEvent(
  message: EventMessage | undefined,
):
  | { readonly event: AuditEvent; readonly error?: undefined }
  | { readonly event?: undefined; readonly error: { readonly code: string; readonly message: string } } {
  try {
    return { event: fromEventMessage(message) };
  } catch (error) {
    return { error: { code: "ERR_AUDIT_EVENT_INVALID", message: AppError.from(error).message } };
  }
}
