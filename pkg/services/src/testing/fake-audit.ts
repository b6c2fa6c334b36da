import { AppError } from "@plinth/kernel";
import { auditEntryHash, noHash } from "../audit/chain.ts";
import type {
  AuditClient,
  AuditEntry,
  AuditEvent,
  AuditFilter,
  AuditHead,
  AuditReceipt,
  AuditResult,
  TailItem,
} from "../audit/types.ts";
import { compact } from "../convert.ts";
import type { EventId } from "../ids.ts";
import { itemsOf } from "../pages.ts";
import { Checks } from "./checks.ts";
import { type FakeControl, type FakeOptions, Gate, type Source, sourceOf, toError } from "./control.ts";
import { fingerprint, pageOf, startOf } from "./paging.ts";

/** Audit in memory, with what a test may have it do. */
export interface FakeAudit extends AuditClient {
  readonly control: FakeControl<keyof AuditClient> & {
    /** All that was recorded, in the order of the chain. */
    readonly entries: readonly AuditEntry[];
  };
}

/** A fake of Audit that answers as the contract says: append-only, chained, each event once. */
export function fakeAudit(options: FakeOptions = {}): FakeAudit {
  const gate = new Gate<keyof AuditClient>();
  const store = new Store(sourceOf(options));
  return { ...clientOf(store, gate), control: Object.assign(gate, { entries: store.entries }) };
}

class Store {
  readonly entries: AuditEntry[] = [];
  readonly source: Source;
  readonly #byEvent = new Map<EventId, AuditEntry>();
  #added = Promise.withResolvers<void>();

  constructor(source: Source) {
    this.source = source;
  }

  /** @throws AppError `ERR_AUDIT_EVENT_CONFLICT`, `ERR_AUDIT_EVENT_INVALID`. */
  add(given: AuditEvent): AuditReceipt {
    const event = normal(given);
    requireValid(event, this.source.clock.now());
    const known = this.#byEvent.get(event.eventId);
    if (known !== undefined && fingerprint(known.event) !== fingerprint(event))
      throw AppError.alreadyExists("ERR_AUDIT_EVENT_CONFLICT", "another event has this id; give each an id of its own");
    return receiptOf(known ?? this.#append(event));
  }

  get(id: EventId): AuditEntry {
    const entry = this.#byEvent.get(id);
    if (entry === undefined) throw AppError.notFound("ERR_AUDIT_ENTRY_NOT_FOUND", `there is no event ${id}`);
    return entry;
  }

  get head(): AuditHead {
    const last = this.entries.at(-1);
    return { sequence: last?.sequence ?? 0, hash: last?.hash ?? noHash, readAt: this.source.now() };
  }

  /** Resolves when an entry has been added. */
  get added(): Promise<void> {
    return this.#added.promise;
  }

  #append(event: AuditEvent): AuditEntry {
    const last = this.entries.at(-1);
    const recordedAt = new Date(Math.max(this.source.clock.now(), last?.recordedAt.getTime() ?? -Infinity));
    const place = { sequence: this.entries.length + 1, recordedAt, event, previousHash: last?.hash ?? noHash };
    const entry = { ...place, hash: auditEntryHash(place) };
    this.entries.push(entry);
    this.#byEvent.set(event.eventId, entry);
    this.#added.resolve();
    this.#added = Promise.withResolvers();
    return entry;
  }
}

/** As it comes out again: without what is empty, in whole milliseconds. */
function normal(event: AuditEvent): AuditEvent {
  const { source = {}, occurredAt, attributes, ...rest } = event;
  const filled = Object.fromEntries(Object.entries(source).filter(([, value]) => value !== undefined && value !== ""));
  return compact({
    ...rest,
    occurredAt: new Date(occurredAt),
    source: Object.keys(filled).length === 0 ? undefined : filled,
    attributes: { ...attributes },
  });
}

/** @throws AppError `ERR_AUDIT_EVENT_INVALID`. */
function requireValid({ occurredAt, actor, action, target, source = {}, attributes }: AuditEvent, nowMs: number): void {
  const checks = new Checks()
    .that(occurredAt.getTime() <= nowMs + 300_000, "/occurred_at", "must not be more than 5 minutes ahead")
    .object(actor, "/actor")
    .that(/^[a-z0-9_.-]{1,128}$/.test(action), "/action", "must be 1 to 128 of a–z 0–9 _ . -")
    .attributes(attributes, "/attributes", { max: 64, maxLength: 2_048 });
  if (target !== undefined) checks.object(target, "/target");
  for (const [key, value] of Object.entries(source)) checks.length(String(value), `/source/${key}`, { max: 256 });
  try {
    checks.done();
  } catch (error) {
    throw AppError.invalidArgument("ERR_AUDIT_EVENT_INVALID", AppError.from(error).message);
  }
}

function receiptOf({ event: { eventId }, sequence, recordedAt, hash }: AuditEntry): AuditReceipt {
  return { eventId, sequence, recordedAt, hash };
}

function clientOf(store: Store, gate: Gate<keyof AuditClient>): AuditClient {
  const client: AuditClient = {
    async record(event, options) {
      await gate.enter("record", options);
      return store.add(event);
    },
    async recordBatch(events, options) {
      await gate.enter("recordBatch", options);
      new Checks().size(events.length, "/events", { min: 1, max: 500 }).done();
      return events.map((event) => resultOf(() => store.add(event)));
    },
    async getEntry(id, options) {
      await gate.enter("getEntry", options);
      return store.get(id);
    },
    query: (query = {}, options) =>
      itemsOf((pageToken) => client.queryPage({ ...query, pageToken }, options), query.pageToken),
    async queryPage(given = {}, options) {
      await gate.enter("queryPage", options);
      const { afterSequence = 0, newestFirst = false } = given;
      const query = { ...given, afterSequence, newestFirst };
      const state = startOf(query)?.state ?? store.entries.length;
      const all = store.entries.slice(afterSequence, state).filter(({ event }) => fits(event, query));
      return pageOf(newestFirst ? all.toReversed() : all, query, { state, max: 500 });
    },
    async *tail({ afterSequence, heartbeatMs = 15_000, ...filter } = {}, options = {}): AsyncGenerator<TailItem> {
      await gate.enter("tail", options);
      let at = afterSequence ?? store.entries.length;
      for (let isLate = true; ;) {
        for (; at < store.entries.length; at++) {
          const entry = store.entries[at];
          if (entry === undefined || !fits(entry.event, filter)) continue;
          yield { kind: "entry", entry };
        }
        if (isLate) yield { kind: "heartbeat", sequence: at };
        if (at < store.entries.length) isLate = false;
        else isLate = await isLater(store, heartbeatMs, options.signal);
      }
    },
    async getHead(options) {
      await gate.enter("getHead", options);
      return store.head;
    },
  };
  return client;
}

/** Waits for an entry. @returns whether the time was up before. @throws AppError `cancelled`. */
async function isLater({ added, source }: Store, ms: number, signal: AbortSignal | undefined): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = source.clock.schedule(ms, () => late.resolve(true), { keepAlive: false });
  const onAbort = (): void => signal && late.reject(toError(signal));
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([added.then(() => false), late.promise]);
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}

function resultOf(add: () => AuditReceipt): AuditResult {
  try {
    return { receipt: add() };
  } catch (error) {
    const { code, message } = AppError.from(error);
    return { error: { code, message } };
  }
}

function fits(
  event: AuditEvent,
  { actor, target, action, outcome, occurredFrom, occurredBefore }: AuditFilter,
): boolean {
  return (
    (actor === undefined || (event.actor.type === actor.type && event.actor.id === actor.id)) &&
    (target === undefined || (event.target?.type === target.type && event.target.id === target.id)) &&
    (action === undefined || hasAction(event.action, action)) &&
    (outcome === undefined || event.outcome === outcome) &&
    (occurredFrom === undefined || event.occurredAt >= occurredFrom) &&
    (occurredBefore === undefined || event.occurredAt < occurredBefore)
  );
}

function hasAction(action: string, wanted: string): boolean {
  return wanted.endsWith("*") ? action.startsWith(wanted.slice(0, -1)) : action === wanted;
}
