// Between the messages of plinth.audit.v1 and plain values.
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  compact,
  invalid,
  mapValue,
  required,
  requestWord,
  textOf,
  toDate,
  toDuration,
  toMs,
  toTimestamp,
  wordsOf,
} from "../convert.ts";
import {
  type Entry as EntryMessage,
  type EntryFilter as FilterMessage,
  type EntryFilterSchema,
  type EntrySchema,
  type Event as EventMessage,
  type EventSchema,
  Outcome,
  type Receipt as ReceiptMessage,
  type ReceiptSchema,
  type RecordResult as ResultMessage,
  type RecordResultSchema,
  type Reference as ReferenceMessage,
  type TailRequest,
  type TailRequestSchema,
  type TailResponse,
  type TailResponseSchema,
} from "../gen/plinth/audit/v1/audit_pb.ts";
import { eventId } from "../ids.ts";
import type {
  AuditEntry,
  AuditEvent,
  AuditFilter,
  AuditReceipt,
  AuditReference,
  AuditResult,
  AuditSource,
  TailItem,
  TailQuery,
} from "./types.ts";

const outcomes = wordsOf(
  { success: Outcome.SUCCESS, denied: Outcome.DENIED, failure: Outcome.FAILURE },
  Outcome.UNSPECIFIED,
);

export function toEventMessage(event: AuditEvent): MessageInitShape<typeof EventSchema> {
  const { occurredAt, actor, target, outcome, source, attributes, ...rest } = event;
  return {
    ...rest,
    occurredAt: toTimestamp(occurredAt),
    actor: toReference(actor),
    target: mapValue(target, toReference),
    outcome: outcomes.toNumber(outcome),
    source: mapValue(source, ({ service = "", address = "", requestId = "", traceId = "" }) => ({
      service,
      address,
      requestId,
      traceId,
    })),
    attributes: { ...attributes },
  };
}

/** @throws RequestError or ServicesError for what is no event. */
export function fromEventMessage(given: EventMessage | undefined, pointer = "/event"): AuditEvent {
  const event = required(given, pointer);
  const outcome = required(requestWord(outcomes, event.outcome, `${pointer}/outcome`), `${pointer}/outcome`);
  return compact({
    eventId: eventId(event.eventId),
    occurredAt: toDate(required(event.occurredAt, `${pointer}/occurred_at`)),
    actor: fromReference(required(event.actor, `${pointer}/actor`)),
    action: event.action,
    target: mapValue(event.target, fromReference),
    outcome,
    source: mapValue(event.source, fromSource),
    attributes: { ...event.attributes },
  });
}

function fromSource(source: { readonly [K in keyof AuditSource]-?: string }): AuditSource | undefined {
  const { service, address, requestId, traceId } = source;
  const read = compact<AuditSource>({
    service: textOf(service),
    address: textOf(address),
    requestId: textOf(requestId),
    traceId: textOf(traceId),
  });
  return Object.keys(read).length === 0 ? undefined : read;
}

function toReference({ type, id }: AuditReference): AuditReference {
  return { type, id };
}

function fromReference({ type, id }: ReferenceMessage): AuditReference {
  return { type, id };
}

export function toEntryMessage(entry: AuditEntry): MessageInitShape<typeof EntrySchema> {
  return {
    sequence: BigInt(entry.sequence),
    recordedAt: toTimestamp(entry.recordedAt),
    event: toEventMessage(entry.event),
    previousHash: Buffer.from(entry.previousHash, "hex"),
    hash: Buffer.from(entry.hash, "hex"),
  };
}

export function fromEntryMessage(given: EntryMessage | undefined): AuditEntry {
  const { sequence, recordedAt, event, previousHash, hash } = required(given, "/entry");
  return {
    sequence: toSequence(sequence),
    recordedAt: toDate(required(recordedAt, "/entry/recorded_at")),
    event: fromEventMessage(event, "/entry/event"),
    previousHash: fromHash(previousHash),
    hash: fromHash(hash),
  };
}

/** @throws Error for what is no SHA-256. */
export function fromHash(hash: Uint8Array): string {
  if (hash.length !== 32) throw new Error(`a hash has 32 bytes, not ${hash.length}`);
  return Buffer.from(hash).toString("hex");
}

/** @throws RangeError past what a number can be exactly. */
export function toSequence(sequence: bigint): number {
  if (sequence > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`sequence ${sequence} is out of range`);
  return Number(sequence);
}

export function toReceiptMessage(receipt: AuditReceipt): MessageInitShape<typeof ReceiptSchema> {
  return {
    eventId: receipt.eventId,
    sequence: BigInt(receipt.sequence),
    recordedAt: toTimestamp(receipt.recordedAt),
    hash: Buffer.from(receipt.hash, "hex"),
  };
}

export function fromReceiptMessage(given: ReceiptMessage | undefined): AuditReceipt {
  const receipt = required(given, "/receipt");
  return {
    eventId: eventId(receipt.eventId),
    sequence: toSequence(receipt.sequence),
    recordedAt: toDate(required(receipt.recordedAt, "/receipt/recorded_at")),
    hash: fromHash(receipt.hash),
  };
}

export function toResultMessage(result: AuditResult): MessageInitShape<typeof RecordResultSchema> {
  return {
    outcome:
      result.error === undefined
        ? { case: "receipt", value: toReceiptMessage(result.receipt) }
        : { case: "error", value: { code: result.error.code, message: result.error.message } },
  };
}

export function fromResultMessage({ outcome }: ResultMessage): AuditResult {
  if (outcome.case === "receipt") return { receipt: fromReceiptMessage(outcome.value) };
  const { code, message } = required(outcome.value, "/results/outcome");
  return { error: { code, message } };
}

export function toFilterMessage(filter: AuditFilter): MessageInitShape<typeof EntryFilterSchema> {
  return {
    actor: mapValue(filter.actor, toReference),
    target: mapValue(filter.target, toReference),
    action: filter.action ?? "",
    outcome: outcomes.toNumber(filter.outcome),
    occurredFrom: toTimestamp(filter.occurredFrom),
    occurredBefore: toTimestamp(filter.occurredBefore),
  };
}

export function fromFilterMessage(filter: FilterMessage | undefined): AuditFilter {
  if (filter === undefined) return {};
  return compact({
    actor: mapValue(filter.actor, fromReference),
    target: mapValue(filter.target, fromReference),
    action: textOf(filter.action),
    outcome: requestWord(outcomes, filter.outcome, "/filter/outcome"),
    occurredFrom: toDate(filter.occurredFrom),
    occurredBefore: toDate(filter.occurredBefore),
  });
}

export function toTailRequest(query: TailQuery): MessageInitShape<typeof TailRequestSchema> {
  return {
    filter: toFilterMessage(query),
    afterSequence: mapValue(query.afterSequence, BigInt),
    heartbeatInterval: mapValue(query.heartbeatMs, toDuration),
  };
}

export function fromTailRequest({ filter, afterSequence, heartbeatInterval }: TailRequest): TailQuery {
  const heartbeatMs = mapValue(heartbeatInterval, toMs);
  if (heartbeatMs !== undefined && !(heartbeatMs >= 1_000 && heartbeatMs <= 60_000))
    throw invalid("/heartbeat_interval", "must be 1 to 60 seconds");
  return compact({ ...fromFilterMessage(filter), afterSequence: mapValue(afterSequence, toSequence), heartbeatMs });
}

export function toTailMessage(item: TailItem): MessageInitShape<typeof TailResponseSchema> {
  return item.kind === "entry"
    ? { item: { case: "entry", value: toEntryMessage(item.entry) } }
    : { item: { case: "heartbeat", value: { sequence: BigInt(item.sequence) } } };
}

/** undefined for an item of a kind that this client does not know. */
export function fromTailMessage({ item }: TailResponse): TailItem | undefined {
  if (item.case === "entry") return { kind: "entry", entry: fromEntryMessage(item.value) };
  if (item.case === "heartbeat") return { kind: "heartbeat", sequence: toSequence(item.value.sequence) };
  return undefined;
}
