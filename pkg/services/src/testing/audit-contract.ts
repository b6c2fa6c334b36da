import assert from "node:assert/strict";
import { auditEntryHash, verifyAuditChain } from "../audit/chain.ts";
import { auditErrors } from "../audit/errors.ts";
import type { AuditClient, AuditEvent, AuditEntry, TailItem } from "../audit/types.ts";
import { eventId } from "../ids.ts";
import { allOf, type ContractCase, failsWith, freshName } from "./contract.ts";

export interface AuditContractOptions {
  /** The client under test, asked for by each case. Its service may be used by others; the cases record events of actors of their own. */
  readonly client: () => AuditClient;
}

/** What every service and client of `plinth.audit.v1` does, errors included. */
export function auditContract({ client }: AuditContractOptions): readonly ContractCase[] {
  const fails = (work: Promise<unknown>, code: string) => failsWith(work, code, auditErrors);
  const newActor = () => ({ type: "user", id: freshName("u") });
  const newEvent = (given: Partial<AuditEvent> = {}): AuditEvent => ({
    eventId: eventId(freshName("event-")),
    occurredAt: new Date(Date.now() - 1_000),
    actor: newActor(),
    action: "notes.delete",
    outcome: "success",
    attributes: {},
    ...given,
  });
  const whole = (): AuditEvent =>
    newEvent({
      target: { type: "note", id: "1" },
      outcome: "denied",
      source: { service: "notes", address: "::1", requestId: "r", traceId: "0".repeat(32) },
      attributes: { reason: "no", größe: "ü", a: "" },
    });
  const common: readonly ContractCase[] = [
    {
      name: "keeps an event as it was, at a place in the chain that its receipt tells",
      run: async () => {
        for (const event of [whole(), newEvent()]) {
          const receipt = await client().record(event);
          const entry = await client().getEntry(event.eventId);
          assert.deepEqual(entry.event, event);
          const { sequence, recordedAt, hash } = entry;
          assert.deepEqual(receipt, { eventId: event.eventId, sequence, recordedAt, hash });
          assert.equal(hash, auditEntryHash(entry));
        }
        await fails(client().getEntry(eventId(freshName("nothing-"))), "ERR_AUDIT_ENTRY_NOT_FOUND");
      },
    },
    {
      name: "keeps an event once, however often it is sent, and no other under its id",
      run: async () => {
        const event = whole();
        const receipt = await client().record(event);
        assert.deepEqual(await client().record(event), receipt);
        assert.deepEqual(await client().recordBatch([event]), [{ receipt }]);
        await fails(client().record({ ...event, outcome: "success" }), "ERR_AUDIT_EVENT_CONFLICT");
      },
    },
    {
      name: "keeps a batch in its order, but for what it refuses",
      run: async () => {
        const [first, last] = [newEvent(), newEvent()];
        const conflicting = { ...first, action: "notes.other" };
        const results = await client().recordBatch([first, newEvent({ action: "No Action" }), conflicting, last]);
        assert.deepEqual(
          results.map(({ receipt, error }) => receipt?.eventId ?? error?.code),
          [first.eventId, "ERR_AUDIT_EVENT_INVALID", "ERR_AUDIT_EVENT_CONFLICT", last.eventId],
        );
        const [one, , , two] = results;
        assert.ok(one?.receipt && two?.receipt && one.receipt.sequence < two.receipt.sequence);
        await fails(client().recordBatch([]), "ERR_REQUEST_INVALID");
        await fails(client().recordBatch(Array.from({ length: 501 }, () => first)), "ERR_REQUEST_INVALID");
      },
    },
    {
      name: "has a chain that holds, which tells when an entry was changed or is missing",
      run: async () => {
        const before = await client().getHead();
        for (let at = 0; at < 3; at++) await client().record(whole());
        const entries = await allOf(client().query({ afterSequence: before.sequence, pageSize: 2 }));
        const { sequence, hash } = await client().getHead();
        const after = before;
        const last = await verifyAuditChain(entries, { after });
        assert.ok(last.sequence <= sequence && (last.sequence < sequence || last.hash === hash));
        const [first, second, ...rest] = entries;
        assert.ok(first && second);
        const changed: AuditEntry = { ...second, event: { ...second.event, outcome: "success" } };
        const isBroken = { code: "ERR_AUDIT_CHAIN", metadata: { sequence: String(second.sequence) } };
        await assert.rejects(verifyAuditChain([first, changed, ...rest], { after }), isBroken);
        const rehashed = { ...changed, hash: auditEntryHash(changed) };
        await assert.rejects(verifyAuditChain([first, rehashed, ...rest], { after }), {
          code: "ERR_AUDIT_CHAIN",
          metadata: { sequence: String(second.sequence + 1) },
        });
        await assert.rejects(verifyAuditChain([first, ...rest], { after }), { code: "ERR_AUDIT_CHAIN" });
        await assert.rejects(verifyAuditChain([second, first], { after }), isBroken);
      },
    },
    {
      name: "finds what fits all of a filter, page by page, both ways round",
      run: async () => {
        const actor = newActor();
        const target = { type: "note", id: freshName("n") };
        const at = (ms: number) => new Date(1_700_000_000_000 + ms);
        const events = [
          newEvent({ actor, occurredAt: at(0) }),
          newEvent({ actor, target, action: "notes.create", occurredAt: at(1) }),
          newEvent({ actor, outcome: "failure", action: "users.delete", occurredAt: at(2) }),
        ];
        await client().recordBatch(events);
        const ids = async (query: Parameters<AuditClient["query"]>[0]) =>
          (await allOf(client().query({ actor, pageSize: 2, ...query }))).map(({ event }) =>
            events.findIndex((one) => one.eventId === event.eventId),
          );
        assert.deepEqual(await ids({}), [0, 1, 2]);
        assert.deepEqual(await ids({ newestFirst: true }), [2, 1, 0]);
        assert.deepEqual(await ids({ target }), [1]);
        assert.deepEqual(await ids({ action: "notes.*" }), [0, 1]);
        assert.deepEqual(await ids({ action: "notes.create" }), [1]);
        assert.deepEqual(await ids({ outcome: "failure" }), [2]);
        assert.deepEqual(await ids({ occurredFrom: at(1), occurredBefore: at(2) }), [1]);
        const [first] = await allOf(client().query({ actor }));
        assert.deepEqual(await ids({ afterSequence: first?.sequence }), [1, 2]);
      },
    },
    {
      name: "shows on all pages what was there at the first",
      run: async () => {
        const actor = newActor();
        await client().recordBatch([newEvent({ actor }), newEvent({ actor })]);
        const query = { actor, newestFirst: true, pageSize: 1 };
        const page = await client().queryPage(query);
        const more = await client().record(newEvent({ actor }));
        const rest = await allOf(client().query({ ...query, pageToken: page.nextPageToken }));
        assert.equal(rest.length, 1);
        assert.ok(rest.every(({ sequence }) => sequence < more.sequence));
        await fails(
          client().queryPage({ ...query, newestFirst: false, pageToken: page.nextPageToken }),
          "ERR_PAGE_TOKEN",
        );
      },
    },
    {
      name: "refuses an event that breaks the contract",
      run: async () => {
        const bad: readonly Partial<AuditEvent>[] = [
          { action: "Delete everything" },
          { actor: { type: "User", id: "1" } },
          { target: { type: "note", id: "" } },
          { occurredAt: new Date(Date.now() + 3_600_000) },
          { attributes: { long: "x".repeat(2_049) } },
        ];
        for (const given of bad) await fails(client().record(newEvent(given)), "ERR_AUDIT_EVENT_INVALID");
      },
    },
    {
      name: "does nothing for a caller who has left",
      run: async () => {
        const event = newEvent();
        await assert.rejects(client().record(event, { signal: AbortSignal.abort() }), { status: "cancelled" });
        await fails(client().getEntry(event.eventId), "ERR_AUDIT_ENTRY_NOT_FOUND");
      },
    },
  ];
  return [...common, ...tailCases(client, newEvent)];
}

function tailCases(client: () => AuditClient, newEvent: (given?: Partial<AuditEvent>) => AuditEvent): ContractCase[] {
  const next = async (items: AsyncIterator<TailItem>): Promise<TailItem> => {
    const result = await items.next();
    assert.ok(result.done !== true, "the stream has ended");
    return result.value;
  };
  return [
    {
      name: "tells of what was there, that it has caught up, and then of what comes, each once",
      run: async () => {
        const { actor } = newEvent();
        const known = await client().record(newEvent({ actor }));
        const leave = new AbortController();
        const tail = client().tail({ actor, afterSequence: known.sequence - 1 }, { signal: leave.signal });
        const items = tail[Symbol.asyncIterator]();
        const first = await next(items);
        assert.ok(first.kind === "entry" && first.entry.sequence === known.sequence);
        const beat = await next(items);
        assert.ok(beat.kind === "heartbeat" && beat.sequence >= known.sequence);
        await client().record(newEvent());
        const added = await client().record(newEvent({ actor }));
        const second = await next(items);
        assert.ok(second.kind === "entry" && second.entry.hash === added.hash);
        const waiting = items.next();
        leave.abort();
        await assert.rejects(waiting, { status: "cancelled" });
      },
    },
    {
      name: "tells only of what comes where no sequence is named, and lets its reader stop",
      run: async () => {
        const { actor } = newEvent();
        await client().record(newEvent({ actor }));
        const items = client().tail({ actor })[Symbol.asyncIterator]();
        assert.equal((await next(items)).kind, "heartbeat");
        const added = await client().record(newEvent({ actor }));
        const item = await next(items);
        assert.ok(item.kind === "entry" && item.entry.hash === added.hash);
        await items.return?.();
      },
    },
  ];
}
